"""l1 ascent along the k largest entries of the gradient, with k drawn at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx.errors import OptionError
from matx.interfaces import AttackInput, ObjectiveName
from matx.options import Range
from matx.threat import ThreatModel
from registry.attacks._ascent import SearchOptions, search
from registry.attacks._options import check_norm, check_start, length, start_of, warn_if_short


@matx.attacks.register("pgd_topk")
@dataclass(frozen=True, kw_only=True)
class PGDTopK:
    """x <- P(x + a v), v the signs of the k largest |g| over k, k uniform in lowest..highest, per sample and step.

    The l1 attack of Maini, Wong and Kolter 2020 (arXiv 1909.04068), which draws k once for the whole batch, projects
    onto the ball first and clips to the box then; here the projection onto both together is exact. Entries within `gap`
    of the side of the box that they point to are left out. Costs as pgd does.
    """

    kind: ClassVar[Literal["maximise"]] = "maximise"

    threat: ThreatModel
    steps: Annotated[int, Range(1)] = 50
    step_size: float | str | None = None
    """The l1 length of a step, on the pixel scale; None: eps / 12 (the published 1.0 at eps 12)."""
    lowest: Annotated[int, Range(1)] = 5
    """The least k."""
    highest: int = 20
    """The greatest k."""
    gap: Annotated[float, Range(0, 0.5, open="high")] = 0.05
    random_start: bool = False
    """False: the first search starts at the clean image, the further ones of `restarts` at random, as published."""
    restarts: Annotated[int, Range(1)] = 1
    keep: Literal["best", "last"] = "best"
    """'best': the iterate of the highest loss; 'last': the last one."""
    objective: ObjectiveName = "cross_entropy"
    """What to maximise unless the strategy supplies it: cross_entropy, margin, dlr, or kl (to the clean prediction)."""
    early_exit: bool = False
    """For evaluation: a sample's search ends at its first misclassified iterate, and the batch shrinks to the rest."""

    def __post_init__(self) -> None:
        check_norm("pgd_topk", self.threat, "l1")
        check_start("pgd_topk", self.objective, random_start=self.random_start)
        if not 1 <= self.lowest <= self.highest:
            raise OptionError("lowest", got=str(self.lowest), allowed=f"1 to highest ({self.highest})")
        _ = self._length
        warn_if_short("pgd_topk", self.threat, self.steps)

    def __call__(self, given: AttackInput) -> Tensor:
        options = SearchOptions(steps=self.steps, restarts=self.restarts, keep=self.keep, early_exit=self.early_exit)
        return search(given, self.objective, self._start, self.step, options)

    def init(self, given: AttackInput) -> Tensor:
        """Where the first search starts."""
        return self._start(given, 0)

    def step(self, given: AttackInput, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        """One step along the signs of the k largest entries that can still move, projected."""
        blocked = ((images <= self.gap) & (gradient < 0)) | ((images >= 1 - self.gap) & (gradient > 0))
        counts = given.generator.at("k", iteration).integers(self.lowest, self.highest)
        shares = counts.to(torch.float32) / gradient[0].numel()
        direction = self.threat.steepest(gradient.masked_fill(blocked, 0.0), sparsity=shares)
        return self.threat.project(images + self._length * direction, given.images)

    @property
    def _length(self) -> float:
        return length(self.step_size, self.threat.radius / 12)

    def _start(self, given: AttackInput, restart: int) -> Tensor:
        return start_of(self.threat, given, restart, random_start=self.random_start)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        threat = ThreatModel(norm="l1", eps=2.0)
        return [
            cls(threat=threat, steps=10),
            cls(threat=threat, steps=10, restarts=2, lowest=1, highest=3, random_start=True, early_exit=True),
        ]
