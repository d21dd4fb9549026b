"""docs/results/embedded.json: what `tools/embedded_runs.py` left in runs/ and studies/, without images or weights.

python tools/collect_results.py
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from embedded_runs import LINF, NOISY, SEARCHED_AS, UNION, folder, seeds_of

from matx.results import Results, read_flags, read_results

OUT = Path("docs/results/embedded.json")
COLUMNS = {"clean": "clean", "robust": "union"}
"""{metric: its column}; the union of one threat model is that threat model."""


def main() -> None:
    """Write the file."""
    methods = {name: method(name) for name in (*LINF, *UNION, *NOISY) if finished(name)}
    searches = {name: search(SEARCHED_AS.get(name, name)) for name in (*LINF, *UNION, *NOISY)}
    OUT.parent.mkdir(exist_ok=True)
    found = {"methods": methods, "searches": {name: trials for name, trials in searches.items() if trials}}
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(OUT, OUT.stat().st_size, "bytes")


def method(name: str) -> dict[str, Any]:
    """Every finished seed of a method."""
    done = finished(name)
    first = folder(name, done[0])
    results = read_results(first)
    return {
        "passes": sum(results.passes.values()),
        "teachers": sum((results.teacher_passes or {}).values()),
        "epochs": results.epochs["last"],
        "test": results.dataset,
        "identity": identity(first),
        "scored": list(results.scored),
        "runs": [{"seed": seed, "epochs": dict(read_results(folder(name, seed)).epochs), "flags": flags(name, seed)}
                 for seed in done],
        "confirmed": confirmed(first.with_name(f"{first.name}.autoattack")),
    }  # fmt: skip


def finished(name: str) -> list[int]:
    """The seeds that were run and whose averages were evaluated."""
    return [seed for seed in seeds_of(name) if averages(folder(name, seed)).joinpath("report.html").is_file()]


def averages(run: Path) -> Path:
    """The evaluation of a run's averaged weights."""
    return run.with_name(f"{run.name}.average")


def identity(path: Path) -> dict[str, str]:
    """The settings on which a run's figures depend, but the seed."""
    found: dict[str, str] = json.loads((path / "identity.json").read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if name != "seed"}


def flags(name: str, seed: int) -> dict[str, dict[str, list[str]]]:
    """{checkpoint and weights: {metric: for each scored peer, which test images are right, packed}}."""
    found: dict[str, dict[str, list[str]]] = {}
    path = folder(name, seed)
    scored = read_results(path).scored
    for place in (path, averages(path)):
        for column, right in read_flags(place).items():
            if column.model in scored and column.source is None and COLUMNS.get(column.metric) == column.column:
                packed = base64.b64encode(np.packbits(right.astype(bool)).tobytes()).decode()
                where = found.setdefault(f"{column.checkpoint} {column.weights}", {})
                where.setdefault(column.metric, []).append(packed)
    return found


def confirmed(path: Path) -> dict[str, Any] | None:
    """AutoAttack and the sanity checks on one seed; None where it was not run."""
    if not (path / "report.html").is_file():
        return None
    results = read_results(path)
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


def search(name: str) -> list[dict[str, Any]]:
    """The trials of a method: those of its study, then its best settings with more weight decay, twice."""
    found = [trial(one) for one in trials(name)]
    for more in trials(f"{name}_decay")[1:] + trials(f"{name}_more"):
        found.append({**trial(more), "number": len(found), "start": "the best before with other weight decay"})
    return found


def trials(study: str) -> list[dict[str, Any]]:
    """The trials of a study as matx left them."""
    paths = sorted(Path("studies", study).glob("trials/*/trial.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def trial(one: Mapping[str, Any]) -> dict[str, Any]:
    """What is published of a trial."""
    return {key: one[key] for key in ("number", "state", "start", "params", "values", "epochs", "duplicate_of")}


if __name__ == "__main__":
    main()
