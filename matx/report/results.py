"""results.json, schema 1: what a run scored, as plain values; accuracies are fractions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matx.errors import OptionError, RunError, did_you_mean
from matx.measure import ENSEMBLE, PeerScores
from matx.runtime.files import write_json

__all__ = ["SCHEMA", "Results", "block", "named", "read_metrics", "read_results", "results", "write_results"]

SCHEMA = 1
"""The version of results.json that this code writes and reads."""

Results = dict[str, Any]
"""The content of a results.json."""


def named(checkpoint: str, weights: str) -> str:
    """Under which name a checkpoint's raw or averaged weights are kept: `best`, or `best-ema`."""
    return checkpoint if weights == "raw" else f"{checkpoint}-{weights}"


def results(
    *,
    experiment: str,
    dataset: Mapping[str, Any],
    scored: Sequence[str],
    best: Mapping[str, PeerScores],
    best_epoch: int | None,
    last: Mapping[str, PeerScores] | None = None,
    last_epoch: int | None = None,
    passes: Mapping[str, float] | None = None,
    checkpoint: str = "best",
    grid: Mapping[str, Any] | None = None,
    last_grid: Mapping[str, Any] | None = None,
) -> Results:
    """results.json as a dict: the block of checkpoint `best` at the top, that of `last` under "last".

    `dataset` holds name, split and n. `scored` names the peers whose mean is the run's score. `passes` holds forward,
    backward_input and backward_weights passes per training image. `grid` and `last_grid`, where given, stand in the
    blocks as they are: {peer: {norm: a row a radius}}.
    """
    found: Results = {"schema": SCHEMA, "experiment": experiment, "checkpoint": checkpoint, "dataset": dict(dataset)}
    found["best_epoch"] = best_epoch
    found.update(block(best, scored, grid))
    found["passes"] = {name: float(count) for name, count in (passes or {}).items()}
    if last is not None:
        found["last"] = {"checkpoint": "last", "epoch": last_epoch, **block(last, scored, last_grid)}
    return found


def block(
    scores: Mapping[str, PeerScores], scored: Sequence[str], grid: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """{"peers": a row each, "scored": the scored peers and the mean of each of their accuracies}.

    Besides "ensemble", a row, where the scores hold one of that name, and "grid" where one is given.
    """
    for name in scored:
        if name not in scores:
            raise OptionError(
                f"Evaluation.scored: got {name!r}, allowed: {', '.join(scores)}{did_you_mean(name, scores)}"
            )
    chosen = [scores[name] for name in scored]
    mean: dict[str, Any] = {}
    if chosen:
        mean["clean"] = _mean([one.clean.accuracy for one in chosen])
        mean["threats"] = {key: _mean([one.threats[key].accuracy for one in chosen]) for key in chosen[0].threats}
        mean["union"] = _mean([one.union.accuracy for one in chosen])
    rows = {name: one.row() for name, one in scores.items() if name != ENSEMBLE}
    found: dict[str, Any] = {"peers": rows, "scored": {"peers": list(scored), "mean": mean}}
    if ENSEMBLE in scores:
        found["ensemble"] = scores[ENSEMBLE].row()
    if grid:
        found["grid"] = dict(grid)
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def write_results(path: Path, found: Results) -> None:
    """Write results.json at once, as the same bytes for the same content."""
    write_json(path, found)


def read_results(path: Path | str) -> Results:
    """The content of a results.json, or of the one in a run folder; RunError where it is missing or of another form."""
    file = Path(path)
    file = file / "results.json" if file.is_dir() else file
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{file} is not there; allowed: a run folder that has been evaluated, or a results.json"
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read as JSON ({error})") from None
    version = found.get("schema") if isinstance(found, dict) else None
    if version != SCHEMA or isinstance(version, bool):
        raise RunError(f"{file}: got results of schema {version!r}, allowed: {SCHEMA}; evaluate the run again")
    missing = [key for key in ("experiment", "checkpoint", "dataset", "peers") if key not in found]
    if missing:
        raise RunError(f"{file}: {', '.join(missing)} missing; allowed: results as `matx eval` writes them")
    content: Results = found
    return content


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, one a line; RunError names the line that is not one."""
    file = Path(path)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error})") from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise RunError(f"{file}:{number}: not a JSON record ({error})") from None
        if not isinstance(record, dict):
            raise RunError(f"{file}:{number}: got {type(record).__name__}, allowed: a JSON object a line")
        records.append(record)
    return records
