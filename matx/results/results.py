"""results.json, schema 2: a flat list of scores beside one block that says how they were made."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from matx.digest import checked, with_digest
from matx.errors import FormError, RunError
from matx.results.schema_1 import convert
from matx.results.score import Score
from matx.runtime.files import name_unchecked, plain, write_json

__all__ = [
    "RESULTS",
    "SCHEMA",
    "AttackUsed",
    "MetricUsed",
    "Results",
    "SanityReason",
    "finished_results",
    "read_results",
    "write_results",
]

log = logging.getLogger("matx.run")

SCHEMA = 2
"""The version of results.json that this code writes; it also reads schema 1."""
RESULTS = "results.json"
_PLACE = ("checkpoint", "weights", "model", "source", "metric", "column")
"""What a score speaks of."""


@dataclass(frozen=True, kw_only=True)
class AttackUsed:
    """An attack of an evaluation with every setting."""

    name: str
    threat: str
    options: Mapping[str, Any]
    changed: Sequence[str] = ()
    """The options that differ from the attack's defaults."""
    reported: bool = True
    """False: of the grid."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "changed", tuple(self.changed))


@dataclass(frozen=True, kw_only=True)
class MetricUsed:
    """A metric of an evaluation with every setting."""

    name: str
    table: str
    """The caption of its table; '': its columns are in the first one."""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SanityReason:
    """A sanity check that did not pass."""

    checkpoint: str
    weights: str
    model: str
    check: str
    threat: str | None
    status: str
    sentence: str
    value: float | None
    """The figure behind it; schema 1 did not keep it."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """The content of a results.json: the scores, and how they were made."""

    experiment: str
    scores: Sequence[Score]
    dataset: Mapping[str, Any]
    """`name`, `split`, `n` and `fingerprint` of the images."""
    scored: Sequence[str] = ()
    """The peers whose mean is the run's score."""
    epochs: Mapping[str, int] = field(default_factory=dict)
    """{checkpoint: its epoch}; where two have the same, the scores are under one of them."""
    passes: Mapping[str, float] = field(default_factory=dict)
    """forward, backward_input and backward_weights passes per training image."""
    teacher_passes: Mapping[str, float] | None = field(default_factory=dict)
    """The same of the training of its frozen teachers, per training image of its own; {}: none; None: not known."""
    best_by: str = "raw"
    """Which weights chose the best epoch: `raw`, or `ema`, their averages."""
    label_noise: float = 0.0
    """The share of its training labels that were wrong."""
    attacks: Sequence[AttackUsed] | None = None
    """None: results of schema 1, which did not say."""
    metrics: Sequence[MetricUsed] = ()
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else figures depend on: batch size, union_only."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Versions, device, processor, threads, and the date."""
    effort: str = ""
    """Of the sanity checks: 'quick', 'full', or '' where there were none."""
    reasons: Sequence[SanityReason] = ()

    def __post_init__(self) -> None:
        for name in ("scores", "scored", "attacks", "metrics", "reasons"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))

    def all_passes(self) -> float | None:
        """Passes of every kind per training image, with those of its teachers' training; None: not known."""
        return None if self.teacher_passes is None else sum(self.passes.values()) + sum(self.teacher_passes.values())

    def content(self) -> dict[str, Any]:
        """As results.json holds it."""
        how = {
            part.name: getattr(self, part.name) for part in fields(self) if part.name not in ("experiment", "scores")
        }
        for name in ("attacks", "metrics", "reasons"):
            how[name] = None if how[name] is None else [asdict(entry) for entry in how[name]]
        return {
            "schema": SCHEMA,
            "experiment": self.experiment,
            "how": how,
            "scores": [score.row() for score in self.scores],
        }

    def checkpoint_of(self, name: str) -> str:
        """The checkpoint under which the scores of `name` are: another one of the same epoch, where it has none."""
        scored = dict.fromkeys(score.checkpoint for score in self.scores)
        if name in scored:
            return name
        epoch = self.epochs.get(name)
        return next((c for c in scored if epoch is not None and self.epochs.get(c) == epoch), name)


@cache
def _validator() -> Any:
    import jsonschema

    schema = json.loads(files("matx.results").joinpath("schema_2.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def _check(content: Any, where: str) -> None:
    """Refuse what the published JSON Schema does not admit, a score that is there twice, more right than samples."""
    error = next(iter(sorted(_validator().iter_errors(content), key=lambda e: list(map(str, e.absolute_path)))), None)
    if error is not None:
        at = "/".join(map(str, error.absolute_path)) or "the whole"
        raise RunError(f"{where}: {at}: {error.message[:200]}; allowed: results as `matx eval` writes them")
    places = [tuple(row[name] for name in _PLACE) for row in content["scores"]]
    twice = next((place for place, times in Counter(places).items() if times > 1), None)
    if twice is not None:
        said = ", ".join(f"{name} {value}" for name, value in zip(_PLACE, twice, strict=True) if value is not None)
        raise RunError(f"{where}: got the score of {said} twice; allowed: each once")
    for row in content["scores"]:
        if row.get("correct", 0) > row["n"]:
            said = f"{row['column']} of {row['model']}"
            raise RunError(f"{where}: {said}: got {row['correct']} correct of {row['n']}, allowed: at most all")


def write_results(path: Path, found: Results) -> None:
    """Write results.json whole, as the same bytes for the same content."""
    content = plain(found.content())
    _check(content, str(path))
    write_json(path, with_digest(content))


def finished_results(path: Path) -> Results | None:
    """The results in a file; None where there are none yet, and where it is damaged, which is said.

    FormError for those of another version: they may be whole, and are not written over.
    """
    if not path.is_file():
        return None
    try:
        return read_results(path)
    except FormError:
        raise
    except RunError as error:
        log.warning("%s; it is made again", error)
        return None


def read_results(path: Path | str) -> Results:
    """The content of a results.json, or of the one in a run folder.

    RunError where it is missing or damaged, FormError where its schema is another version's.
    """
    file = Path(path)
    file = file / RESULTS if file.is_dir() else file
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{file} is not there; allowed: a run folder that has been evaluated, or a results.json"
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read as JSON ({error})") from None
    version = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise RunError(f"{file}: damaged: holds no results; evaluate the run again")
    if version not in (1, SCHEMA):
        raise FormError(
            f"{file}: got results of schema {version}, allowed: 1 or {SCHEMA}; read them with the matx that wrote "
            "them, or evaluate into another folder"
        )
    if version == 1:
        content = convert(content, str(file))
    _check(content, str(file))
    try:
        content, known = checked(content)
    except ValueError as error:
        raise RunError(f"{file}: damaged: {error}; evaluate the run again") from None
    name_unchecked(file, known)
    how = dict(content["how"])
    attacks = None if how["attacks"] is None else [AttackUsed(**entry) for entry in how.pop("attacks")]
    return Results(
        experiment=content["experiment"],
        scores=[Score.from_row(row) for row in content["scores"]],
        attacks=attacks,
        metrics=[MetricUsed(**entry) for entry in how["metrics"]],
        reasons=[SanityReason(**entry) for entry in how["reasons"]],
        **{name: value for name, value in how.items() if name not in ("attacks", "metrics", "reasons")},
    )
