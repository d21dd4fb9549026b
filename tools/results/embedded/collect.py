"""docs/results/embedded.json: what the runs left in runs/ and studies/, without images or weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matx.results import read_results

from .. import collected
from ..commands import beside
from .runs import LINF, NOISY, SEARCHED_AS, UNION, folder, seeds_of

OUT = Path("docs/results/embedded.json")


def store() -> None:
    """Write the file."""
    methods = {name: method(name) for name in (*LINF, *UNION, *NOISY) if finished(name)}
    searches = {name: search(SEARCHED_AS.get(name, name)) for name in (*LINF, *UNION, *NOISY)}
    OUT.parent.mkdir(exist_ok=True)
    found = {"methods": methods, "searches": {name: trials for name, trials in searches.items() if trials}}
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(OUT, OUT.stat().st_size, "bytes")


def method(name: str) -> dict[str, Any]:
    """Every finished seed of a method."""
    runs = {seed: folder(name, seed) for seed in finished(name)}
    first = next(iter(runs.values()))
    return {
        **collected.described(first),
        "runs": [one(seed, run) for seed, run in runs.items()],
        "confirmed": collected.confirmed(beside(first, "autoattack")),
    }


def one(seed: int, run: Path) -> dict[str, Any]:
    """A run and the evaluation of its averaged weights."""
    results = read_results(run)
    right = collected.flags([run, beside(run, "average")], results.scored)
    return {"seed": seed, "epochs": dict(results.epochs), "flags": right}


def finished(name: str) -> list[int]:
    """The seeds that were run and whose averages were evaluated."""
    return [seed for seed in seeds_of(name) if (beside(folder(name, seed), "average") / "report.html").is_file()]


def search(name: str) -> list[dict[str, Any]]:
    """The trials of a method: those of its study, then its best settings with more weight decay, twice."""
    studies = Path("studies")
    found = collected.trials(studies / name)
    for more in collected.trials(studies / f"{name}_decay")[1:] + collected.trials(studies / f"{name}_more"):
        found.append({**more, "number": len(found), "start": "the best before with other weight decay"})
    return found
