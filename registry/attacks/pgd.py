"""Projected gradient ascent in l_inf, l2 or l1."""

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
from registry.attacks._options import check_start, length, start_of, warn_if_short


@matx.attacks.register("pgd")
@dataclass(frozen=True, kw_only=True)
class PGD:
    """x <- P(x + a v): v the steepest direction of the norm, P the projection onto ball and box together.

    v is sign(g) for l_inf, g / ||g||_2 for l2, and for l1 the signs of the largest `sparsity` share of |g|, over their
    number, with entries at the edge of the box that point outwards left out. Madry et al. 2018 (arXiv 1706.06083); for
    l1 Tramer and Boneh 2019 (arXiv 1904.13000) with the projection of Croce and Hein 2021 (arXiv 2103.01208).
    Costs `steps` forwards and backwards a restart, and one forward more where losses of the last iterate are needed
    (keep='best', or several restarts).
    """

    kind: ClassVar[Literal["maximise"]] = "maximise"

    threat: ThreatModel
    steps: Annotated[int, Range(1)] = 10
    step_size: float | str | None = None
    """The length of a step in the threat's norm, on the pixel scale: a number or '2/255'; None: 2.5 eps / steps."""
    random_start: bool = True
    """True: start at a random point of the ball. False: the first search starts at the clean image exactly (the further
    ones of `restarts` at random)."""
    noise: Annotated[float, Range(0)] = 0.0
    """Over 0: random starts are the clean image plus Gaussian noise of this deviation instead (TRADES: 0.001)."""
    restarts: Annotated[int, Range(1)] = 1
    """How many searches; the best example counts: misclassified first, then the highest loss."""
    keep: Literal["best", "last"] = "best"
    """'best': the iterate of the highest loss; 'last': the last one, as most papers train on."""
    objective: ObjectiveName = "cross_entropy"
    """What to maximise unless the strategy supplies it: cross_entropy, margin, dlr, or kl (to the clean prediction)."""
    sparsity: Annotated[float, Range(0, 1, open="low")] = 0.05
    """l1 only: the share of coordinates that a step moves."""
    early_exit: bool = False
    """For evaluation: a sample's search ends at its first misclassified iterate, or (keep='best') where its iterates
    begin to repeat, and the batch shrinks to the rest."""

    def __post_init__(self) -> None:
        check_start("pgd", self.objective, random_start=self.random_start)
        if self.noise > 0 and not self.random_start:
            raise OptionError("noise", got=f"{self.noise} with random_start=False", allowed="0 there")
        _ = self._length
        warn_if_short("pgd", self.threat, self.steps)

    def __call__(self, given: AttackInput) -> Tensor:
        options = SearchOptions(
            steps=self.steps, restarts=self.restarts, keep=self.keep, early_exit=self.early_exit, repeats=True
        )
        return search(given, self.objective, self._start, self.step, options)

    def init(self, given: AttackInput) -> Tensor:
        """Where the first search starts."""
        return self._start(given, 0)

    def step(self, given: AttackInput, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        """One step of length `step_size` along the steepest direction, projected."""
        edge = images if self.threat.norm == "l1" else None
        direction = self.threat.steepest(gradient, edge, sparsity=self.sparsity)
        return self.threat.project(images + self._length * direction, given.images)

    @property
    def _length(self) -> float:
        return length(self.step_size, 2.5 * self.threat.radius / self.steps)

    def _start(self, given: AttackInput, restart: int) -> Tensor:
        if self.noise == 0:
            return start_of(self.threat, given, restart, random_start=self.random_start)
        noise = self.noise * given.generator.at("start").normal(tuple(given.images.shape[1:]))
        return self.threat.project(given.images + noise.to(given.images), given.images)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        linf, l2 = ThreatModel(norm="linf", eps="8/255"), ThreatModel(norm="l2", eps=0.5)
        l1 = ThreatModel(norm="l1", eps=2.0)
        return [
            cls(threat=linf, steps=3, step_size="4/255"),
            cls(threat=l2, steps=3, random_start=False, objective="margin"),
            cls(threat=l1, steps=10),
            cls(threat=linf, steps=3, restarts=2, keep="last", early_exit=True),
            cls(threat=linf, steps=3, objective="kl", noise=0.001),
        ]
