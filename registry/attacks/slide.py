"""l1 ascent along the entries of the gradient above a percentile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from torch import Tensor

import matx
from matx.errors import OptionError
from matx.interfaces import AttackInput, ObjectiveName
from matx.options import Range
from matx.threat import ThreatModel
from registry.attacks._ascent import SearchOptions, search
from registry.attacks._options import check_norm, check_start, length, start_of, warn_if_short


@matx.attacks.register("slide")
@dataclass(frozen=True, kw_only=True)
class SLIDE:
    """x <- P(x + a v), v the signs of the entries of |g| at or above its q-th percentile, over their number.

    The sparse l1 descent of Tramer and Boneh 2019 (arXiv 1904.13000): entries at the edge of the box that point
    outwards are left out first; it maximises the margin. The published code projects onto the ball first and clips to
    the box then; here the projection onto both together is exact. Costs as pgd does.
    """

    kind: ClassVar[Literal["maximise"]] = "maximise"

    threat: ThreatModel
    steps: Annotated[int, Range(1)] = 100
    step_size: float | str | None = None
    """The l1 length of a step, on the pixel scale; None: eps / 4 (about the published 2.0 at eps 2000/255)."""
    percentile: Annotated[float, Range(0, 100, open="high")] = 99.0
    """q, in 0..100: 99 moves one entry in a hundred."""
    percentile_to: Annotated[float, Range(0, 100, open="high")] | None = None
    """With a value, q is drawn uniformly between `percentile` and it, per sample and restart."""
    random_start: bool = True
    restarts: Annotated[int, Range(1)] = 1
    keep: Literal["best", "last"] = "best"
    """'best': the iterate of the highest loss; 'last': the last one, as published."""
    objective: ObjectiveName = "margin"
    """What to maximise unless the strategy supplies it: cross_entropy, margin, dlr, or kl (to the clean prediction)."""
    early_exit: bool = False
    """For evaluation: a sample's search ends at its first misclassified iterate, or (keep='best') where its iterates
    begin to repeat, and the batch shrinks to the rest."""

    def __post_init__(self) -> None:
        check_norm("slide", self.threat, "l1")
        check_start("slide", self.objective, random_start=self.random_start)
        if self.percentile_to is not None and not self.percentile <= self.percentile_to < 100:
            raise OptionError(
                "percentile_to",
                got=str(self.percentile_to),
                allowed=f"percentile ({self.percentile}) or more, below 100",
            )
        _ = self._length
        warn_if_short("slide", self.threat, self.steps)

    def __call__(self, given: AttackInput) -> Tensor:
        options = SearchOptions(
            steps=self.steps, restarts=self.restarts, keep=self.keep, early_exit=self.early_exit, repeats=True
        )
        return search(given, self.objective, self._start, self.step, options)

    def init(self, given: AttackInput) -> Tensor:
        """Where the first search starts."""
        return self._start(given, 0)

    def step(self, given: AttackInput, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        """One step of length `step_size` along the largest entries, projected."""
        direction = self.threat.steepest(gradient, images, sparsity=self._shares(given))
        return self.threat.project(images + self._length * direction, given.images)

    def _shares(self, given: AttackInput) -> float | Tensor:
        if self.percentile_to is None:
            return 1.0 - self.percentile / 100.0
        width = self.percentile_to - self.percentile
        return 1.0 - (self.percentile + width * given.generator.at("percentile").uniform(())) / 100.0

    @property
    def _length(self) -> float:
        return length(self.step_size, self.threat.radius / 4)

    def _start(self, given: AttackInput, restart: int) -> Tensor:
        return start_of(self.threat, given, restart, random_start=self.random_start)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        threat = ThreatModel(norm="l1", eps=2.0)
        return [
            cls(threat=threat, steps=10, percentile=95.0),
            cls(threat=threat, steps=10, percentile=90.0, percentile_to=99.0, restarts=2, early_exit=True),
        ]
