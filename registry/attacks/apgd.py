"""Projected gradient ascent that chooses its own step sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx import interfaces, losses
from matx.errors import OptionError
from matx.interfaces import AttackInput, LogitObjective, ObjectiveName
from matx.options import Range
from matx.threat import ThreatModel
from registry.attacks._apgd import AscentOptions, ascend
from registry.attacks._ascent import Found, best_of, per_sample
from registry.attacks._options import check_start, warn_if_short

APGDObjective = Literal[ObjectiveName, "targeted_dlr"]


@matx.attacks.register("apgd")
@dataclass(frozen=True, kw_only=True)
class APGD:
    """x <- P(x + 0.75 (P(x + s v) - x) + 0.25 (x - x_before)), with s halved where progress stalls.

    Croce and Hein 2020 (arXiv 2003.01690): s begins at 2 eps; at checkpoints (after 22 % of the steps, then in windows
    shrinking to 6 %) a sample whose value rose in at most 75 % of the window, or whose best value stayed the same at an
    unhalved step, halves s and returns to its best point. l1 (Croce and Hein 2021, arXiv 2103.01208): no momentum, v
    moves the largest `sparsity` share of entries, which adapts to the entries moved so far, s between eps / 10 and eps.
    It takes the steps of the published code (docs/parity.md), in l2 P onto the ball and then onto the box, too.
    Costs per restart (and target) steps + 1 forwards and steps backwards, times `eot`; targets one forward more.
    """

    kind: ClassVar[Literal["maximise"]] = "maximise"

    threat: ThreatModel
    steps: Annotated[int, Range(1)] = 100
    objective: APGDObjective = "cross_entropy"
    """What to maximise unless the strategy supplies it: cross_entropy, margin, dlr, kl, or targeted_dlr, which runs
    once for each of the likeliest wrong classes of the clean image (4 or more classes)."""
    targets: Annotated[int, Range(1)] = 9
    """targeted_dlr: how many classes, the likeliest first; all wrong ones where there are fewer."""
    restarts: Annotated[int, Range(1)] = 1
    """How many runs (of each target); the best example counts: misclassified first, then the highest value."""
    random_start: bool = True
    """False: the first run starts at the clean image exactly, as training does (Croce and Hein 2022)."""
    sparsity: Annotated[float, Range(0, 1, open="low")] = 0.2
    """l1: the share of entries that the first steps move (0.05 in training, Croce and Hein 2022)."""
    epsilon_schedule: bool = False
    """l1: 30 % of the steps (rounded up) in the ball of 3 eps, 30 % in that of 2 eps, the rest in the ball itself, as
    in AutoAttack."""
    rho: Annotated[float, Range(0, 1, open="low")] = 0.75
    """The share of rising steps at or below which s is halved."""
    eot: Annotated[int, Range(1)] = 1
    """Forwards and backwards to average over, for a model that draws at random."""
    early_exit: bool = False
    """For evaluation: a sample's search ends at its first misclassified iterate, and the batch shrinks to the rest.
    Off, the highest iterate counts, as training wants it."""
    exact: bool = False
    """Unlike the published code: l2 projects onto ball and box together, and l1 leaves entries out that point out of
    the box from its edge. On its own that fools up to 3 in 100 images more in l1 where many pixels are 0 or 1."""

    def __post_init__(self) -> None:
        check_start("apgd", self.objective, random_start=self.random_start)
        if self.epsilon_schedule and self.threat.norm != "l1":
            raise OptionError("epsilon_schedule", got=f"True for {self.threat.norm}", allowed="False, or l1")
        warn_if_short("apgd", self.threat, self.steps)

    def __call__(self, given: AttackInput) -> Tensor:
        return best_of(given, self._objectives(given), self.restarts, self._run, early_exit=self.early_exit)

    def _objectives(self, given: AttackInput) -> Sequence[interfaces.Objective]:
        if given.objective is not None or self.objective != "targeted_dlr":
            return [given.objective_for(self.objective)]
        with torch.no_grad():
            logits = given.model(given.images)
        losses.targeted_dlr(logits, given.labels, given.labels)  # refuses fewer than 4 classes
        count = min(self.targets, logits.shape[1] - 1)
        targets = logits.scatter(1, given.labels[:, None], -torch.inf).topk(count, dim=1).indices
        return [
            LogitObjective(given.model, losses.targeted_dlr, {"labels": given.labels, "targets": target})
            for target in targets.unbind(1)
        ]

    def _run(self, given: AttackInput, restart: int) -> Found:
        balls = self._balls()
        moving = self.random_start or restart > 0
        start = self._random_point(balls[0][0], given) if moving else given.images
        found: Found | None = None
        for index, (ball, steps) in enumerate(balls):
            final = index == len(balls) - 1
            run = AscentOptions(
                threat=ball,
                steps=steps,
                sparsity=self.sparsity,
                warm=self.epsilon_schedule and (moving or index > 0),
                flag_wrong=final and (self.early_exit or self.restarts > 1 or self.objective == "targeted_dlr"),
                early_exit=final and self.early_exit,
                eot=self.eot,
                rho=self.rho,
                exact=self.exact,
            )
            found = ascend(given, start if found is None else ball.project(found.images, given.images), run)
        assert found is not None
        return found

    def _balls(self) -> list[tuple[ThreatModel, int]]:
        """(ball, steps) of each stage."""
        if not self.epsilon_schedule:
            return [(self.threat, self.steps)]
        early = -(-self.steps * 3 // 10)  # rounded up
        stages = [(3, early), (2, early), (1, self.steps - 2 * early)]
        return [
            (replace(self.threat, eps=str(factor * self.threat.exact)), steps) for factor, steps in stages if steps > 0
        ]

    def _random_point(self, ball: ThreatModel, given: AttackInput) -> Tensor:
        """l_inf, l2: a point of the sphere (a uniform, a Gaussian direction); l1: a Gaussian, projected."""
        shape, generator = tuple(given.images.shape[1:]), given.generator.at("start")
        if ball.norm == "linf":
            draw = 2.0 * generator.uniform(shape) - 1.0
            draw = draw * per_sample(ball.radius / draw.abs().flatten(1).amax(1).clamp_min(1e-12), draw)
        else:
            draw = generator.normal(shape)
            if ball.norm == "l2":
                draw = draw * per_sample(ball.radius / draw.flatten(1).norm(dim=1).clamp_min(1e-12), draw)
        return ball.project(given.images + draw.to(given.images), given.images)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        linf, l2 = ThreatModel(norm="linf", eps="8/255"), ThreatModel(norm="l2", eps=0.5)
        l1 = ThreatModel(norm="l1", eps=2.0)
        return [
            cls(threat=linf, steps=5),
            cls(threat=l2, steps=5, objective="margin", random_start=False),
            cls(threat=l1, steps=10, sparsity=0.05),
            cls(threat=l1, steps=10, epsilon_schedule=True, early_exit=True, restarts=2),
            cls(threat=linf, steps=4, objective="targeted_dlr", targets=2, early_exit=True),
        ]
