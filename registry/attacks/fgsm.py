"""One step along the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from torch import Tensor

import matx
from matx.interfaces import AttackInput, ObjectiveName, value_and_gradient
from matx.options import Range
from matx.threat import ThreatModel
from registry.attacks._options import check_start, length, start_of, warn_if_short


@matx.attacks.register("fgsm")
@dataclass(frozen=True, kw_only=True)
class FGSM:
    """x' = P(x + eps v), v the steepest direction of the norm: sign(g) for l_inf.

    Goodfellow et al. 2015 (arXiv 1412.6572).
    With `random_start` and `step_size` of 1.25 eps it is the attack of Wong et al. 2020 (arXiv 2001.03994). Costs one
    forward and backward.
    """

    kind: ClassVar[Literal["maximise"]] = "maximise"

    threat: ThreatModel
    step_size: float | str | None = None
    """The length of the step in the norm of the threat, on the pixel scale: a number or '10/255'; None: eps."""
    random_start: bool = False
    """False: from the clean image; True: from a random point of the ball."""
    objective: ObjectiveName = "cross_entropy"
    """What to maximise unless the strategy supplies it: cross_entropy, margin, dlr, or kl (to the clean prediction)."""
    sparsity: Annotated[float, Range(0, 1, open="low")] = 0.05
    """l1 only: the share of coordinates that the step moves."""

    def __post_init__(self) -> None:
        check_start("fgsm", self.objective, random_start=self.random_start)
        _ = self._length
        warn_if_short("fgsm", self.threat, 1)

    def __call__(self, given: AttackInput) -> Tensor:
        start = self.init(given)
        _, gradient = value_and_gradient(given.objective_for(self.objective), start)
        return self.step(given, start, gradient, 0)

    def init(self, given: AttackInput) -> Tensor:
        """The clean images, or random points around them."""
        return start_of(self.threat, given, 0, random_start=self.random_start)

    def step(self, given: AttackInput, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        """One step of length `step_size` along the steepest direction, projected."""
        edge = images if self.threat.norm == "l1" else None
        direction = self.threat.steepest(gradient, edge, sparsity=self.sparsity)
        return self.threat.project(images + self._length * direction, given.images)

    @property
    def _length(self) -> float:
        return length(self.step_size, self.threat.radius)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [
            cls(threat=ThreatModel(norm="linf", eps="8/255")),
            cls(threat=ThreatModel(norm="linf", eps="8/255"), step_size="10/255", random_start=True),
            cls(threat=ThreatModel(norm="l2", eps=0.5)),
            cls(threat=ThreatModel(norm="l1", eps=2.0)),
        ]
