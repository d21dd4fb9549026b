"""docs/results/cifar10.json: what the runs left in runs/ and studies/, without images or weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matx.results import read_results

from .. import collected
from ..commands import beside
from .runs import METHODS, STUDIES, folder

ROOT = Path(__file__).resolve().parents[3]
OUT = ROOT / "docs" / "results" / "cifar10.json"


def store() -> None:
    """Write the file."""
    methods = {name: method(name) for name in METHODS if finished(name)}
    searches = {name: trials for name in METHODS if (trials := collected.trials(STUDIES / name))}
    OUT.write_text(json.dumps({"methods": methods, "searches": searches}, indent=1) + "\n", encoding="utf-8")
    print(OUT.relative_to(ROOT), OUT.stat().st_size, "bytes")


def method(name: str) -> dict[str, Any]:
    """Every finished seed of a method."""
    runs = {seed: folder(name, seed) for seed in finished(name)}
    first = next(iter(runs.values()))
    return {
        **collected.described(first),
        "apgd images": read_results(beside(first, "apgd")).dataset["n"],
        "runs": [one(seed, run) for seed, run in runs.items()],
        "confirmed": collected.confirmed(beside(first, "autoattack")),
    }


def one(seed: int, run: Path) -> dict[str, Any]:
    """A run, the evaluation of its averaged weights, and what APGD left of its first test images."""
    results = read_results(run)
    right = collected.flags([run, beside(run, "average")], results.scored)
    stronger = collected.flags([beside(run, "apgd")], results.scored)
    return {
        "seed": seed,
        "epochs": dict(results.epochs),
        "flags": right | {f"apgd {place}": found for place, found in stronger.items()},
        "validation": collected.scores(run),
        "seconds": collected.seconds(run),
    }


def finished(name: str) -> list[int]:
    """The seeds that were run and evaluated to the end."""
    return [seed for seed in METHODS[name].seeds if (beside(folder(name, seed), "apgd") / "report.html").is_file()]
