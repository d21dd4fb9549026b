"""Ascent along an accumulated gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from torch import Tensor

import matx
from matx.interfaces import AttackInput, ObjectiveName
from matx.options import Range
from matx.threat import ThreatModel
from registry.attacks._ascent import SearchOptions, search
from registry.attacks._options import check_start, length, start_of, warn_if_short


@matx.attacks.register("mim")
@dataclass(frozen=True, kw_only=True)
class MIM:
    """g <- mu g + grad / mean|grad|, x <- P(x + a v(g)), v the steepest direction of the norm: sign(g) for l_inf.

    The momentum iterative method of Dong et al. 2018 (arXiv 1710.06081), whose paper divides by the l1 norm and whose
    code by the mean: the direction is the same. Costs as pgd does.
    """

    kind: ClassVar[Literal["maximise"]] = "maximise"

    threat: ThreatModel
    steps: Annotated[int, Range(1)] = 10
    step_size: float | str | None = None
    """The length of a step in the threat's norm, on the pixel scale: a number or '2/255'; None: eps / steps."""
    decay: Annotated[float, Range(0, open="low")] = 1.0
    """mu, how much of the accumulated gradient stays; over 0."""
    random_start: bool = False
    restarts: Annotated[int, Range(1)] = 1
    keep: Literal["best", "last"] = "best"
    """'best': the iterate of the highest loss; 'last': the last one, as published."""
    objective: ObjectiveName = "cross_entropy"
    """What to maximise unless the strategy supplies it: cross_entropy, margin, dlr, or kl (to the clean prediction)."""
    sparsity: Annotated[float, Range(0, 1, open="low")] = 0.05
    """l1 only: the share of coordinates that a step moves."""
    early_exit: bool = False
    """For evaluation: a sample's search ends at its first misclassified iterate, and the batch shrinks to the rest."""

    def __post_init__(self) -> None:
        check_start("mim", self.objective, random_start=self.random_start)
        _ = self._length
        warn_if_short("mim", self.threat, self.steps)

    def __call__(self, given: AttackInput) -> Tensor:
        options = SearchOptions(
            steps=self.steps,
            restarts=self.restarts,
            keep=self.keep,
            early_exit=self.early_exit,
            momentum=self.decay,
        )
        return search(given, self.objective, self._start, self._step, options)

    @property
    def _length(self) -> float:
        return length(self.step_size, self.threat.radius / self.steps)

    def _start(self, given: AttackInput, restart: int) -> Tensor:
        return start_of(self.threat, given, restart, random_start=self.random_start)

    def _step(self, given: AttackInput, images: Tensor, velocity: Tensor, iteration: int) -> Tensor:
        edge = images if self.threat.norm == "l1" else None
        direction = self.threat.steepest(velocity, edge, sparsity=self.sparsity)
        return self.threat.project(images + self._length * direction, given.images)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [
            cls(threat=ThreatModel(norm="linf", eps="8/255"), steps=3),
            cls(threat=ThreatModel(norm="l2", eps=0.5), steps=3, decay=0.5, keep="last"),
            cls(threat=ThreatModel(norm="l1", eps=2.0), steps=10, random_start=True, early_exit=True),
        ]
