"""What the study costs: passes of every row, counted by a dry run of its recipe, over a rate that is measured.

hours = runs x (training / its rate + (validations + tests) / their rate) / 3600, rates in passes a second of one core.
A validation or test counts the full budget of its attack on the share of images that is taken to be robust throughout,
and one forward on the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

import matx
from matx.config import Loaded, load_experiment
from matx.engine import fit, start
from matx.run import dry_run

from . import gate
from .runs import APGD_IMAGES, METHODS, RECIPES, SEEDS, TRIALS, UNION

ROOT = Path(__file__).resolve().parents[3]
COSTS = ROOT / "docs" / "results" / "cifar10_costs.json"
PAGE = ROOT / "docs" / "results" / "cifar10_plan.md"
COUNTED = ("at", "mat", "self_distillation", "trades", *UNION)
ROBUST = 0.25
"""The share of images taken to withstand an attack to its end: the gate's best validation, and a little more."""
IMAGES, EPOCHS = 1_000, 30
VALIDATED = {"a run": (9, 1_000), "a trial": (9, 2_000), "a union": (9, 1_000)}
"""Of the recipes: so many epochs end in a validation, on so many images."""
PGD_IMAGES = 2_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the plan."""

    what: str
    method: str
    runs: int
    times: float = 1.0
    """What a training costs, in trainings of the method."""
    stronger: int = 1
    """So many checkpoints of each of its peers are attacked by APGD."""
    trial: bool = False
    """Whether it is validated as trials are, and not tested."""


TUNED = ("at", "mat", "self_distillation", "trades")
ROWS = (
    *(Row(what=f"tuning of `{name}`", method=name, runs=TRIALS, trial=True) for name in TUNED),
    Row(what="`at`", method="at", runs=len(SEEDS), stronger=2),
    Row(what="`at_averaged`", method="at", runs=len(SEEDS)),
    Row(what="`mat`", method="mat", runs=len(SEEDS), stronger=2),
    Row(what="`self_distillation`", method="self_distillation", runs=len(SEEDS)),
    Row(what="`trades`", method="trades", runs=len(SEEDS)),
    Row(what="the frozen peers: `at` from the weights of mat's second peer", method="at", runs=len(SEEDS), stronger=0),
    Row(what="`mat_frozen`, train and eval mode", method="mat_frozen", runs=2 * len(SEEDS)),
    *(Row(what=f"`{name}`, 16x16 pixels", method=name, runs=len(METHODS[name].seeds)) for name in UNION),
    Row(what="`mat`, examples only", method="mat", runs=len(SEEDS)),
    Row(what="`mat`, answers from averages", method="mat", runs=len(SEEDS)),
    Row(what="`at` for as many FLOPs as `mat`, longer", method="at", runs=len(SEEDS), times=2.15),
    Row(what="label smoothing, with its tuning", method="at", runs=len(SEEDS) + TRIALS),
    Row(what="AWP on `at`", method="at", runs=len(SEEDS), times=1.15),
    Row(what="AWP on `mat`", method="mat", runs=len(SEEDS), times=1.15),
    Row(what="`at` on two own restarts an image", method="at", runs=len(SEEDS), times=1.9),
    Row(what="`mat` of three peers", method="mat", runs=len(SEEDS), times=1.55),
    Row(what="`at` and `mat` with 20 % wrong labels", method="mat", runs=len(SEEDS), times=1.5),
)


def loaded(method: str, data: Path) -> Loaded:
    """A recipe on these images."""
    bindings = [f"datasets.npz.path={str(data)!r}"]
    return load_experiment([RECIPES / f"{method}.gin"], bindings, own=True)


def count(data: Path) -> None:
    """Count passes of every recipe but `mat_frozen`, measure the rate, and store both."""
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    for method in COUNTED:
        images = data.parent / "16x16" / "10.npz" if method in UNION else data
        cost = dry_run(loaded(method, images), device="cpu").estimate
        found[method] = {"passes": cost.total.passes / cost.images, "gflop": cost.total.flops / cost.images / 1e9}
    rates = {"training": training_rate(data, found["at"]["passes"]), "evaluation": evaluation_rate(data)}
    document = {"an image": found, "passes a second": rates}
    COSTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def training_rate(data: Path, passes: float, steps: int = 12) -> float:
    """Passes a second of processor time, of steps of `at` on one thread."""
    experiment = loaded("at", data).experiment
    records = fit(start(experiment, experiment.dataset()))
    next(records)
    began = time.process_time()
    for _ in range(steps):
        next(records)
    return steps * experiment.batch_size * passes / (time.process_time() - began)


def evaluation_rate(data: Path, steps: int = 20) -> float:
    """Passes a second of processor time, of PGD without early exit on one batch, in fp32."""
    experiment = loaded("at", data).experiment
    test = experiment.dataset().test
    images = test.read(torch.arange(experiment.evaluation.batch_size)) / 255
    labels = torch.as_tensor(test.labels[: len(images)])
    network = experiment.peers["a"].architecture((3, 32, 32), 10).eval()
    began = time.process_time()
    matx.attack(network, images, labels, steps=steps)
    return (2 * steps + 1) * len(images) / (time.process_time() - began)


def attacked(images: int, steps: int, restarts: int = 1) -> float:
    """Passes of an attack on so many images."""
    return images * (1 + ROBUST * 2 * steps * restarts)


def passes(row: Row, costs: Mapping[str, Mapping[str, float]]) -> float:
    """Of a row's training, by an image; the frozen peer of `mat_frozen` adds one forward to those of `at`."""
    own = costs["at"]["passes"] + 1 if row.method == "mat_frozen" else costs[row.method]["passes"]
    return own * row.times


def hours(row: Row, costs: Mapping[str, Mapping[str, float]], rates: Mapping[str, float]) -> tuple[float, float]:
    """(of one run, of all)."""
    peers = 2 if row.method == "mat" else 1
    training = IMAGES * EPOCHS * passes(row, costs)
    times, images = VALIDATED["a trial" if row.trial else "a union" if row.method in UNION else "a run"]
    attacks = times * attacked(images, 10)
    if not row.trial:  # PGD-100 on best, last and the average of best; one run and nine targets of APGD
        attacks += 3 * attacked(PGD_IMAGES, 100) + row.stronger * attacked(APGD_IMAGES, 100, 1 + 9)
    attacks *= 3 if row.method in UNION else 1
    one = (training / rates["training"] + peers * attacks / rates["evaluation"]) / 3600
    return one, row.runs * one


def page() -> str:
    """The plan."""
    stored = json.loads(COSTS.read_text(encoding="utf-8"))
    costs, rates = stored["an image"], stored["passes a second"]
    lines = [
        "# Plan of the study on CIFAR-10",
        "",
        f"Written by `python -m tools.results.cifar10 plan`. {IMAGES:,} training images, {EPOCHS} epochs, 0.31 M "
        f"parameters, l_inf 8/255; {TRIALS} trials of each method, {len(SEEDS)} seeds ({SEEDS[0]} to {SEEDS[-1]}), "
        f"decided before the first fresh run. Rates by processor time: {rates['training']:,.0f} passes a second and "
        f"core in training (bf16 crafting), {rates['evaluation']:,.0f} in evaluation (fp32); a share of {ROBUST:.0%} "
        "of the images is taken to withstand every attack to its end.",
        "",
        "| row | passes an image | runs | core-hours a run | core-hours | together |",
        "|---|---|---|---|---|---|",
    ]
    together = 0.0
    for row in ROWS:
        one, every = hours(row, costs, rates)
        together += every
        lines.append(
            f"| {row.what} | {passes(row, costs):.0f} | {row.runs} | {one:.2f} | {every:.1f} | {together:.1f} |"
        )
    lines += [
        "",
        "Of a union the generalist is attacked in three norms, each counted like the one above, which is too much: "
        "what one attack has broken is not attacked again. No tuning of unions is planned. Two further trials each of "
        "`at`, `mat` and `self_distillation`, the methods near the best, are not in the table (0.3 core-hours).",
        "",
        *gate.lines(),
    ]
    return "\n".join([*lines, ""])
