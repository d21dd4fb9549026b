"""docs/results/cifar10.json: what the runs left in runs/ and studies/, without images or weights."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matx.results import read_results

from .. import collected
from ..commands import beside
from .runs import FURTHER, METHODS, STUDIES, folder, further

ROOT = Path(__file__).resolve().parents[3]
OUT = ROOT / "docs" / "results" / "cifar10.json"


def store() -> None:
    """Write the file."""
    methods = {name: method(name) for name in METHODS if finished(name)}
    searches = {name: trials for name in METHODS if (trials := search(name))}
    OUT.write_text(json.dumps({"methods": methods, "searches": searches}, indent=1) + "\n", encoding="utf-8")
    print(OUT.relative_to(ROOT), OUT.stat().st_size, "bytes")


def method(name: str) -> dict[str, Any]:
    """Every finished seed of a method."""
    runs = {seed: folder(name, seed) for seed in finished(name)}
    first = next(iter(runs.values()))
    results = read_results(first)
    return {
        **collected.described(first),
        "passes": counted(results.passes),
        "teachers": counted(results.teacher_passes or {}),
        "averaged": METHODS[name].averaged,
        "apgd images": read_results(beside(first, "apgd")).dataset["n"],
        "runs": [one(seed, run, tested=METHODS[name].tested) for seed, run in runs.items()],
        "confirmed": collected.confirmed(beside(first, "autoattack")),
        "transfer": transfer(beside(first, "transfer")),
    }


def counted(passes: Mapping[str, float]) -> float:
    """Passes as the plan counts them: a backward pass to the weights is two, as it goes to the activations, too."""
    return sum(passes.values()) + passes.get("backward_weights", 0.0)


def one(seed: int, run: Path, *, tested: bool) -> dict[str, Any]:
    """A run, and what APGD left of its first test images."""
    results = read_results(run)
    attacked = [place for name in ("apgd", "apgd_last") if ended(place := beside(run, name))]
    stronger = collected.flags(attacked, results.scored)
    right = collected.flags([run], results.scored) if tested else {}
    return {
        "seed": seed,
        "epochs": dict(results.epochs),
        "flags": right | {f"apgd {place}": found for place, found in stronger.items()},
        "validation": collected.scores(run),
        "train": train(run, results.scored),
        "seconds": collected.seconds(run),
    }


def train(run: Path, scored: Sequence[str]) -> list[float]:
    """The accuracy of every epoch on its own training examples, the mean of the scored peers."""
    records = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    epochs = [record["train"] for record in records if record["kind"] == "epoch"]
    return [round(sum(epoch[peer]["accuracy"] for peer in scored) / len(scored), 4) for epoch in epochs]


def transfer(evaluation: Path) -> list[dict[str, Any]]:
    """Which share of images is right, of each network on the examples found against each; none where it was not run."""
    if not ended(evaluation):
        return []
    scores = read_results(evaluation).scores
    found = [one for one in scores if one.metric == "transfer" and one.column.startswith("accuracy")]
    return [{"model": one.model, "source": one.source, "value": one.value} for one in found]


def finished(name: str) -> list[int]:
    """The seeds that were run and evaluated to the end."""
    return [seed for seed in METHODS[name].seeds if ended(beside(folder(name, seed), "apgd"))]


def ended(evaluation: Path) -> bool:
    """Whether an evaluation came to its end."""
    return (evaluation / "report.html").is_file()


def search(name: str) -> list[dict[str, Any]]:
    """The trials of a method: those of its study, then the further ones."""
    found = collected.trials(STUDIES / name)
    for number, settings in enumerate(FURTHER.get(name, ())):
        own = {key: ast.literal_eval(value) for key, _, value in (one.partition("=") for one in settings)}
        for trial in collected.trials(further(name, number)):
            place = {"number": found[-1]["number"] + 1, "start": "further"}
            found.append({**trial, **place, "params": {**trial["params"], **own}})
    return found
