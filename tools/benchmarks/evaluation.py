"""`eval`: our PGD-100 and AutoAttack against torchattacks' on the same models and images, at the same budget.

torchattacks' APGD, APGD-T and FAB are set to the steps of ours (they stop at 10 by default, the standard says 100),
Square to the same queries and schedule. Theirs gets the model as it comes, contiguous; ours what `matx eval` makes of
it. What no machine changes is measured, too: how many forwards and backwards each makes an image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from statistics import median
from typing import Any

import torch
import trained_models
from torch import Tensor, nn

import matx
from benchmarks.measuring import Row, Settings, Tables, ratios
from matx.data import MemorySplit
from matx.measure import EvaluationSettings, Rate, flags_of
from matx.threat import ThreatModel

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
    steps: int
    queries: int

    def calls(self) -> dict[str, tuple[Callable[[], float], Callable[[], float]]]:
        """{attack: (ours, theirs)}, each of which gives the robust accuracy."""
        return {
            "PGD-100": (
                lambda: self._ours("pgd", steps=100, early_exit=True),
                lambda: self._theirs(self._pgd()),
            ),
            f"AutoAttack, {self.steps} steps, {self.queries} queries": (
                lambda: self._ours("autoattack", steps=self.steps, queries=self.queries),
                lambda: self._theirs(self._autoattack()),
            ),
        }

    def _ours(self, name: str, **options: Any) -> float:
        """In one batch."""
        attack: Any = matx.attacks[name]
        split = MemorySplit.of(self.images, self.labels)
        light = self.module
        if not isinstance(light, Counted):
            light = copy.deepcopy(light).to(memory_format=torch.channels_last)
        settings = EvaluationSettings(attacks=[attack(threat=self.threat, **options)], batch_size=len(split.labels))
        return Rate.of(flags_of({"model": light}, split, settings)["model"].union).accuracy

    def _theirs(self, attack: Any) -> float:
        found: Tensor = attack(self.images, self.labels)
        with torch.no_grad():
            return float((self.module(found).argmax(1) == self.labels).float().mean())

    def _pgd(self) -> Any:
        torchattacks: Any = import_module("torchattacks")
        make = torchattacks.PGD if self.threat.norm == "linf" else torchattacks.PGDL2
        return make(self.module, eps=self.threat.radius, alpha=0.025 * self.threat.radius, steps=100)

    def _autoattack(self) -> Any:
        torchattacks: Any = import_module("torchattacks")
        classes = int(self.module(self.images[:1]).shape[1])
        norm = NORMS[self.threat.norm]
        whole = torchattacks.AutoAttack(self.module, norm=norm, eps=self.threat.radius, n_classes=classes, seed=0)
        for part in whole._autoattack.attacks:
            for option, value in (("steps", self.steps), ("n_queries", self.queries), ("rescale_schedule", False)):
                if hasattr(part, option):
                    setattr(part, option, value)
        return whole


def measure(settings: Settings) -> Tables:
    small = settings.brief
    data = trained_models.load(None if small else settings.npz, 64 if small else 8000, 1000)
    names = ("undefended",) if small else ("adversarial", "union")
    epochs = 1 if small else 30 if data.name == "digits" else 4
    folder = settings.folder / "brief" if small else settings.folder
    found = trained_models.models(data, folder, epochs, names=names)
    count, steps, queries = (16, 2, 10) if small else (64, 20, 1000)
    tables: Tables = {"eval": [], "eval_passes": []}
    for name, module in found.items():
        for threat in (threat for threat in data.threats if threat.norm in NORMS):
            plain = module.to(memory_format=torch.contiguous_format)
            images, labels = data.test[:count].contiguous(), data.test_labels[:count]
            case = Case(module=plain, images=images, labels=labels, threat=threat, steps=steps, queries=queries)
            head: Row = {"data": data.name, "model": name, "threat": threat.key}
            tables["eval"] += _timed(settings, case, head)
            tables["eval_passes"] += _counted(case, head)
    return tables


def _timed(settings: Settings, case: Case, head: Row) -> list[Row]:
    rows = []
    for attack, (ours, theirs) in case.calls().items():
        accuracies = {"ours": ours(), "torchattacks'": theirs()}
        spent = [(settings.seconds(theirs), settings.seconds(ours)) for _ in range(settings.rounds)]
        above, below = zip(*spent, strict=True)
        times = {"s ours": median(below), "s theirs": median(above)}
        rows.append({**head, "attack": attack, **accuracies, **times, **ratios(above, below)})
    return rows


def _counted(case: Case, head: Row) -> list[Row]:
    """Forwards and backwards an image."""
    counted = Counted(case.module).eval()
    again = Case(**{**vars(case), "module": counted})
    rows = []
    for attack, calls in again.calls().items():
        row: Row = {**head, "attack": attack}
        for whose, call in zip(("ours", "theirs"), calls, strict=True):
            counted.forwards = counted.backwards = 0
            call()
            row |= {f"{whose}: forwards": counted.forwards / len(case.labels)}
            row |= {f"{whose}: backwards": counted.backwards / len(case.labels)}
        rows.append(row)
    return rows
