"""What the study costs: passes of every row, counted by a dry run of its recipe, over a rate that is measured.

hours = runs x (training + validations + tests) / passes a second / 3600, for one core. A validation or test counts the
full budget of its attack on the share of images that is taken to be robust throughout, and one forward on the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from matx.config import Loaded, load_experiment
from matx.engine import fit, start
from matx.run import dry_run

from . import gate, parts

ROOT = Path(__file__).resolve().parents[3]
RECIPES = Path(__file__).with_name("recipes")
COSTS = ROOT / "docs" / "results" / "cifar10_costs.json"
PAGE = ROOT / "docs" / "results" / "cifar10_plan.md"
METHODS = ("at", "mat", "mat_frozen", "self_distillation", "trades")
TRIALS, SEEDS = 6, 5
"""Decided before the first fresh run."""
ROBUST = 0.35
"""The share of images taken to withstand an attack to its end: the gate's best validation, and a little more."""
PGD_IMAGES, APGD_IMAGES = 2_000, 1_000
EPOCHS, VALIDATED = 50, 27
"""Of every recipe: epochs, and those of them that end in a validation."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the plan."""

    what: str
    method: str
    runs: int
    times: float = 1.0
    """What a training costs, in trainings of the method."""
    tested: bool = True
    """Whether its checkpoints are attacked on test images."""


ROWS = (
    *(Row(what=f"tuning of `{name}`", method=name, runs=TRIALS, tested=False)
      for name in ("at", "mat", "self_distillation", "trades")),
    *(Row(what=f"`{name}`", method=name, runs=SEEDS) for name in METHODS),
    Row(what="the frozen peers of `mat_frozen`: `at` from the weights of mat's second peer", method="at", runs=SEEDS,
        tested=False),
    Row(what="`mat`, examples only", method="mat", runs=SEEDS),
    Row(what="`mat`, answers from averages", method="mat", runs=SEEDS),
    Row(what="`at` for as many FLOPs as `mat`, longer", method="at", runs=SEEDS, times=2.15),
    Row(what="label smoothing, with its tuning", method="at", runs=SEEDS + TRIALS),
    Row(what="AWP on `at`", method="at", runs=SEEDS, times=1.15),
    Row(what="AWP on `mat`", method="mat", runs=SEEDS, times=1.15),
    Row(what="`at` on two own restarts an image", method="at", runs=SEEDS, times=1.9),
    Row(what="`mat` of three peers", method="mat", runs=SEEDS, times=1.55),
    Row(what="`at` and `mat` with 20 % wrong labels", method="mat", runs=SEEDS, times=1.5),
)  # fmt: skip


def loaded(method: str, data: Path) -> Loaded:
    """A recipe on these images."""
    bindings = [f"datasets.npz.path={str(data)!r}"]
    return load_experiment([RECIPES / f"{method}.gin"], bindings, own=True)


def count(data: Path) -> None:
    """Count passes of every recipe but `mat_frozen`, measure the rate, and store both."""
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    for method in METHODS:
        if method != "mat_frozen":
            cost = dry_run(loaded(method, data), device="cpu").estimate
            found[method] = {"passes": cost.total.passes / cost.images, "gflop": cost.total.flops / cost.images / 1e9}
    document = {"an image": found, "passes a second": rate(data, found["at"]["passes"])}
    COSTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def rate(data: Path, passes: float, steps: int = 12) -> float:
    """Passes a second of processor time, of steps of `at` on one thread."""
    experiment = loaded("at", data).experiment
    records = fit(start(experiment, experiment.dataset()))
    next(records)
    began = time.process_time()
    for _ in range(steps):
        next(records)
    return steps * experiment.batch_size * passes / (time.process_time() - began)


def attacked(images: int, steps: int, restarts: int = 1) -> float:
    """Passes of an attack on so many images."""
    return images * (1 + ROBUST * 2 * steps * restarts)


def passes(row: Row, costs: Mapping[str, Mapping[str, float]]) -> float:
    """Of a row's training, by an image; the frozen peer of `mat_frozen` adds one forward to those of `at`."""
    own = costs["at"]["passes"] + 1 if row.method == "mat_frozen" else costs[row.method]["passes"]
    return own * row.times


def hours(row: Row, costs: Mapping[str, Mapping[str, float]], passes_a_second: float) -> tuple[float, float]:
    """(of one run, of all)."""
    peers = 2 if row.method == "mat" else 1
    training = parts.SIZE * EPOCHS * passes(row, costs)
    validation = peers * VALIDATED * attacked(1_000, 10)
    test = peers * 2 * (attacked(PGD_IMAGES, 100) + attacked(APGD_IMAGES, 100, 1 + 9)) if row.tested else 0.0
    one = (training + validation + test) / passes_a_second / 3600
    return one, row.runs * one


def page() -> str:
    """The plan."""
    stored = json.loads(COSTS.read_text(encoding="utf-8"))
    costs, speed = stored["an image"], stored["passes a second"]
    lines = [
        "# Plan of the study on CIFAR-10",
        "",
        "Written by `python -m tools.results.cifar10 plan`. 2,000 training images, 0.31 M parameters, l_inf 8/255; "
        f"{TRIALS} trials of each method, {SEEDS} seeds (10 to {9 + SEEDS}), decided before the first fresh run. "
        f"Rate: {speed:,.0f} passes a second and core, by processor time, bf16 crafting; a share of {ROBUST:.0%} of "
        "the images is taken to withstand every attack to its end.",
        "",
        "| row | passes an image | runs | core-hours a run | core-hours | together |",
        "|---|---|---|---|---|---|",
    ]
    together = 0.0
    for row in ROWS:
        one, every = hours(row, costs, speed)
        together += every
        lines.append(
            f"| {row.what} | {passes(row, costs):.0f} | {row.runs} | {one:.2f} | {every:.1f} | {together:.1f} |"
        )
    lines += ["", "Unions of norms at 16x16 pixels have no recipes yet and are not planned here.", "", *gate.lines()]
    return "\n".join([*lines, ""])
