"""What is published of run folders and studies: figures and which images are right, no images and no weights."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from matx.results import Results, read_flags, read_results

COLUMNS = {"clean": "clean", "robust": "union"}
"""{metric: its column}; the union of one threat model is that threat model."""


def described(run: Path) -> dict[str, Any]:
    """What all runs of a method have in common."""
    results = read_results(run)
    return {
        "passes": sum(results.passes.values()),
        "teachers": sum((results.teacher_passes or {}).values()),
        "epochs": results.epochs["last"],
        "test": results.dataset,
        "identity": identity(run),
        "scored": list(results.scored),
    }


def identity(run: Path) -> dict[str, str]:
    """The settings on which a run's figures depend, but the seed."""
    found: dict[str, str] = json.loads((run / "identity.json").read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if name != "seed"}


def flags(folders: Iterable[Path], scored: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """{checkpoint and weights: {metric: for each scored peer, which test images are right, packed}}."""
    found: dict[str, dict[str, list[str]]] = {}
    names = set(scored)
    for place in folders:
        for column, right in read_flags(place).items():
            if column.model in names and column.source is None and COLUMNS.get(column.metric) == column.column:
                packed = base64.b64encode(np.packbits(right.astype(bool)).tobytes()).decode()
                where = found.setdefault(f"{column.checkpoint} {column.weights}", {})
                where.setdefault(column.metric, []).append(packed)
    return found


def confirmed(evaluation: Path) -> dict[str, Any] | None:
    """AutoAttack and the sanity checks on one seed; None where it was not run."""
    if not (evaluation / "report.html").is_file():
        return None
    results = read_results(evaluation)
    rows = [one for one in results.scores if one.model in results.scored and one.source is None]
    return {
        "images": results.dataset["n"],
        "scores": [{"model": row.model, "column": row.column, "value": row.value} for row in rows],
        "sanity": sorted({row.sanity for row in rows}),
        "reasons": reasons(results),
    }


def reasons(results: Results) -> list[str]:
    """The sanity checks that did not pass."""
    return [f"{reason.model}, {reason.check}: {reason.sentence}" for reason in results.reasons]


def trials(study: Path) -> list[dict[str, Any]]:
    """What is published of the trials of a study."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(study.glob("trials/*/trial.json"))]
    return [published(one) for one in found]


def published(trial: Mapping[str, Any]) -> dict[str, Any]:
    """Of one trial."""
    return {key: trial[key] for key in ("number", "state", "start", "params", "values", "epochs", "duplicate_of")}


def scores(run: Path) -> list[float | None]:
    """The validation score of every epoch; None where there was no validation."""
    records = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    found = (record["score"] for record in records if record["kind"] == "epoch")
    return [None if score is None else round(score, 4) for score in found]


def seconds(run: Path) -> dict[str, float]:
    """What a run took."""
    found: dict[str, float] = json.loads((run / "timing.json").read_text(encoding="utf-8"))["seconds"]
    return {name: round(value, 1) for name, value in found.items()}
