"""One step along the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

import matx
from matx.errors import OptionError
from matx.interfaces import Goal, check_objective, value_and_gradient
from matx.threat import ThreatModel
from registry.attacks._ascent import check_fraction, positive, warn_if_short


@matx.attacks.register("fgsm")
@dataclass(frozen=True, kw_only=True)
class FGSM:
    """x' = P(x + eps v), v the steepest direction of the norm: sign(g) for l_inf. Goodfellow et al. 2015 (1412.6572).

    With `random_start` and `step_size` of 1.25 eps it is the attack of Wong et al. 2020 (arXiv 2001.03994). Costs one
    forward and backward.
    """

    kind: ClassVar[Literal["maximise"]] = "maximise"

    threat: ThreatModel
    step_size: float | str | None = None
    """The length of the step in the norm of the threat, on the pixel scale: a number or '10/255'; None: eps."""
    random_start: bool = False
    """False: from the clean image; True: from a random point of the ball."""
    objective: str = "cross_entropy"
    """What to climb where the strategy supplies nothing: cross_entropy, margin, dlr, or kl (to the clean answer)."""
    sparsity: float = 0.05
    """l1 only: the share of coordinates that the step moves."""

    def __post_init__(self) -> None:
        check_objective(self.objective)
        check_fraction("attacks.fgsm.sparsity", self.sparsity)
        if self.step_size is not None:
            positive("attacks.fgsm.step_size", self.step_size)
        if self.objective == "kl" and not self.random_start:
            raise OptionError(
                "attacks.fgsm.objective: got 'kl' with random_start=False, allowed: a random start, "
                "for at the clean image the gradient of KL is zero"
            )
        warn_if_short("fgsm", self.threat, 1)

    def __call__(self, goal: Goal) -> Tensor:
        start = self.init(goal)
        _, gradient = value_and_gradient(goal.climb(self.objective), start)
        return self.step(goal, start, gradient, 0)

    def init(self, goal: Goal) -> Tensor:
        """The clean images, or random points around them."""
        return self.threat.random_start(goal.images, goal.generator.at("start")) if self.random_start else goal.images

    def step(self, goal: Goal, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        """One step of length `step_size` along the steepest direction, projected."""
        length = self.threat.radius if self.step_size is None else positive("attacks.fgsm.step_size", self.step_size)
        edge = images if self.threat.norm == "l1" else None
        direction = self.threat.steepest(gradient, edge, sparsity=self.sparsity)
        return self.threat.project(images + length * direction, goal.images)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[FGSM]:
        return [
            cls(threat=ThreatModel(norm="linf", eps="8/255")),
            cls(threat=ThreatModel(norm="linf", eps="8/255"), step_size="10/255", random_start=True),
            cls(threat=ThreatModel(norm="l2", eps=0.5)),
            cls(threat=ThreatModel(norm="l1", eps=2.0)),
        ]
