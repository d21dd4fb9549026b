"""What was measured before of a packaged recipe and its baseline, to be shown beside a run of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matx.config.recipes import recipe_root
from matx.errors import RunError
from matx.experiment import Experiment
from matx.runtime.identity import common_options, differences, identity_of

__all__ = ["MEASURED", "SEED", "Measured", "MeasuredMethod", "measured_for"]

MEASURED = "measured.json"
"""Beside the packaged recipes."""
SEED = "seed"
"""The setting in which the runs of one method differ."""


@dataclass(frozen=True, kw_only=True)
class MeasuredMethod:
    """A recipe's figures over seeds, counts as shares."""

    recipe: str
    seeds: Sequence[int]
    passes: float
    """Per training image, those of frozen teachers' training included."""
    figures: Sequence[Sequence[float]]
    """For each column of the comparison: the mean over seeds, the lowest, the highest."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A recipe beside its baseline, and what their difference says."""

    methods: Sequence[MeasuredMethod]
    """The baseline first."""
    columns: Sequence[Sequence[str]]
    """(metric, column, heading) of each figure."""
    sentence: str


def measured_for(name: str, experiment: Experiment, place: Path | None = None) -> Measured | None:
    """What was measured of the packaged recipe of that name; None where nothing was, or of other settings."""
    file = (recipe_root() if place is None else place) / MEASURED
    stored = _read(file).get(name) if file.is_file() else None
    if stored is None:
        return None
    given = {**identity_of(experiment), SEED: ""}
    if differences(common_options({**stored["identity"], SEED: ""}, given), given):
        return None
    methods = [MeasuredMethod(**method) for method in stored["methods"]]
    return Measured(methods=methods, columns=stored["columns"], sentence=stored["sentence"])


def _read(file: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}); allowed: the file that comes with matx") from None
    return found
