"""Time our PGD-100 and AutoAttack against torchattacks' on the same models, images and machine, turn by turn.

    pip install torchattacks
    OMP_NUM_THREADS=1 python tools/benchmark_evaluation.py --images 360 --steps 10 --queries 500
    OMP_NUM_THREADS=1 python tools/benchmark_evaluation.py --npz cifar10.npz --images 128 --steps 20 --queries 1000
    OMP_NUM_THREADS=1 python tools/benchmark_evaluation.py --npz cifar10.npz --images 64 --models adversarial
    OMP_NUM_THREADS=1 python tools/benchmark_evaluation.py --images 360 --count

Every round runs ours, then theirs, in CPU seconds of this process, and the ratio is taken within the round. The budget
is the same: torchattacks' APGD, APGD-T and FAB are set to the --steps of ours (they stop at 10 by default, the standard
says 100), Square to the same queries and schedule. Theirs gets the model as it comes; ours what `matx eval` makes of it
(channels last, batch norms folded). Ours judges its examples on the model as it comes, too.

--count asks instead what no machine changes: how many forwards and backwards each makes an image of the test set.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmark_models import Images, arguments, load, models
from benchmark_page import put
from torch import Tensor, nn

import matx
from matx.data import MemorySplit
from matx.measure import EvaluationSettings, Rate, flags_of
from matx.threat import ThreatModel

torchattacks: Any = import_module("torchattacks")
NORMS = {"linf": "Linf", "l2": "L2"}


class _Pass(torch.autograd.Function):
    """The identity, which counts the rows that come back through it."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, counted: Counted) -> Tensor:
        ctx.counted = counted
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.counted.backwards += len(gradients[0])
        return gradients[0], None


class Counted(nn.Module):
    """A module that counts the images it is asked about, forwards and backwards."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.forwards, self.backwards = module, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        images = _Pass.apply(images, self) if images.requires_grad else images
        logits: Tensor = self.module(images)
        return logits


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One model under one threat model."""

    module: nn.Module
    """As it comes: contiguous."""
    images: Tensor
    labels: Tensor
    threat: ThreatModel

    def ours(self, name: str, **options: Any) -> float:
        """The robust accuracy that `matx eval` finds, in one batch."""
        attack: Any = matx.attacks[name]
        split = MemorySplit.of(self.images, self.labels)
        light = self.module
        if not isinstance(light, Counted):
            light = copy.deepcopy(light).to(memory_format=torch.channels_last)
        settings = EvaluationSettings(attacks=[attack(threat=self.threat, **options)], batch_size=len(split.labels))
        return Rate.of(flags_of({"model": light}, split, settings)["model"].union).accuracy

    def theirs(self, attack: Any) -> float:
        """The accuracy on what the attack returns."""
        found: Tensor = attack(self.images, self.labels)
        with torch.no_grad():
            return float((self.module(found).argmax(1) == self.labels).float().mean())

    def pgd(self) -> Any:
        """PGD-100 of the same step size."""
        make = torchattacks.PGD if self.threat.norm == "linf" else torchattacks.PGDL2
        return make(self.module, eps=self.threat.radius, alpha=0.025 * self.threat.radius, steps=100)

    def autoattack(self, steps: int, queries: int) -> Any:
        """AutoAttack standard, each of its parts at the budget of ours."""
        classes = int(self.module(self.images[:1]).shape[1])
        whole = torchattacks.AutoAttack(
            self.module, norm=NORMS[self.threat.norm], eps=self.threat.radius, n_classes=classes, seed=0
        )
        for part in whole._autoattack.attacks:
            for option, value in (("steps", steps), ("n_queries", queries), ("rescale_schedule", False)):
                if hasattr(part, option):
                    setattr(part, option, value)
        return whole


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One round of one attack: accuracies, and CPU seconds."""

    ours: float
    theirs: float
    seconds: float
    their_seconds: float

    @property
    def ratio(self) -> float:
        """How much faster ours is."""
        return self.their_seconds / self.seconds


def timed(call: Callable[[], float]) -> tuple[float, float]:
    start = time.process_time()
    accuracy = call()
    return accuracy, time.process_time() - start


def turn(ours: Callable[[], float], theirs: Callable[[], float]) -> Turn:
    (mine, seconds), (its, their_seconds) = timed(ours), timed(theirs)
    return Turn(ours=mine, theirs=its, seconds=seconds, their_seconds=their_seconds)


def row(name: str, case: Case, attack: str, turns: list[Turn]) -> str:
    ratios = [one.ratio for one in turns]
    mine, its = (median(times) for times in ([t.seconds for t in turns], [t.their_seconds for t in turns]))
    return (
        f"| {name} | {case.threat.key} | {attack} | {turns[0].ours:.3f} | {turns[0].theirs:.3f} "
        f"| {mine:.1f} | {its:.1f} | {min(ratios):.2f} | {median(ratios):.2f} | {max(ratios):.2f} |"
    )


Pair = tuple[Callable[[], float], Callable[[], float]]


def pairs(case: Case, steps: int, queries: int) -> dict[str, Pair]:
    """{attack: (ours, theirs)}."""
    return {
        "PGD-100": (lambda: case.ours("pgd", steps=100, early_exit=True), lambda: case.theirs(case.pgd())),
        f"AutoAttack, {steps} steps, {queries} queries": (
            lambda: case.ours("autoattack", steps=steps, queries=queries),
            lambda: case.theirs(case.autoattack(steps, queries)),
        ),
    }


def counted_row(name: str, case: Case, attack: str, runs: Pair, counted: Counted) -> str:
    """Accuracies, and forwards and backwards an image of the test set."""
    cells = [name, case.threat.key, attack]
    for run in runs:
        counted.forwards = counted.backwards = 0
        accuracy = run()
        cells += [f"{accuracy:.3f}", *(f"{n / len(case.labels):.0f}" for n in (counted.forwards, counted.backwards))]
    return f"| {' | '.join(cells)} |"


def benchmark(images: Images, found: dict[str, nn.Module], options: argparse.Namespace) -> list[str]:
    heads = (
        "ours: accuracy | forwards | backwards | torchattacks': accuracy | forwards | backwards"
        if options.count
        else "ours: accuracy | torchattacks' | ours: CPU s | torchattacks' | ratio: min | median | max"
    )
    lines = [f"| model | threat | attack | {heads} |", f"|---|---|---|{'---|' * (heads.count('|') + 1)}"]
    print("\n".join(lines), flush=True)
    seen, labels = images.test[: options.images], images.test_labels[: options.images]
    for name in options.models.split(","):
        module = found[name].to(memory_format=torch.contiguous_format)
        counted = Counted(module).eval()
        for threat in (threat for threat in images.threats if threat.norm in NORMS):
            asked = counted if options.count else module
            case = Case(module=asked, images=seen.contiguous(), labels=labels, threat=threat)
            for attack, runs in pairs(case, options.steps, options.queries).items():
                if options.count:
                    lines.append(counted_row(name, case, attack, runs, counted))
                else:
                    lines.append(row(name, case, attack, [turn(*runs) for _ in range(options.rounds)]))
                print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = arguments(__doc__, images=100)
    parser.add_argument("--architecture", default="tiny", help="one of the registry that has a width")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--count", action="store_true", help="count passes instead of seconds")
    parser.add_argument("--write", type=Path, default=None, help="put the table between this file's markers")
    options = parser.parse_args()
    images = load(options.npz, options.train, 1000)
    names = options.models.split(",")
    found = models(images, options.folder, options.epochs, names=names, architecture=options.architecture)
    lines = benchmark(images, found, options)
    if options.write is not None:
        kind = "passes" if options.count else "speed"
        budget = " standard" if (options.steps, options.queries) == (100, 5000) else ""
        put(options.write, f"{kind} {images.name} {options.architecture}{budget}", lines)


if __name__ == "__main__":
    main()
