"""One ascent for several norms: at every step the best of each norm's candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor

import matx
from matx.errors import OptionError
from matx.interfaces import (
    Attack,
    AttackInput,
    Crafted,
    FirstOrderAttack,
    ObjectiveName,
    run_attack,
    value_and_gradient,
)
from matx.options import Range


@matx.unions.register("msd")
@dataclass(frozen=True, kw_only=True)
class MSD:
    """x <- argmax over attacks a of loss(x_a), x_a = step_a(x, gradient at x); the best x of all steps is the one view.

    Multi steepest descent (Maini, Wong and Kolter 2020, arXiv 1909.04068): per sample, one gradient serves every
    attack, each moves along its own steepest direction into its own ball, and the candidate of the highest loss is
    kept. The candidates are compared in one batched forward. The attacks' own numbers of steps do not count, their step
    sizes do; a single attack runs as it is. Costs per step one forward and backward, and one forward of all candidates.
    """

    says_winners: ClassVar[bool] = False
    """A step keeps the best of all candidates, so that an example is the work of several attacks."""

    steps: Annotated[int, Range(1)] = 50
    random_start: bool = False
    """True: each sample starts where an attack drawn for it would; False: at the clean image, as published."""
    objective: ObjectiveName = "cross_entropy"
    """What to maximise unless the strategy supplies it: cross_entropy, margin, dlr, or kl (to the clean prediction)."""

    def start(self) -> matx.State:
        """Nothing: it has no memory."""
        return {}

    def views(self, count: int) -> int:
        """One."""
        return 1

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: matx.State) -> Crafted:
        members = [_first_order(attack) for attack in attacks]
        if len(attacks) == 1:
            return Crafted(views=run_attack(attacks[0], given)[None], state=state)
        size, count = len(given.images), len(members)
        objective = given.objective_for(self.objective)
        places = torch.arange(size, device=given.images.device)
        stacked = objective.select(places.repeat(count))
        images = self._start(members, given)
        best, best_values = images, torch.full((size,), -torch.inf, device=images.device)
        for iteration in range(self.steps):
            _, gradient = value_and_gradient(objective, images)
            candidates = torch.stack([member.step(given, images, gradient, iteration) for member in members])
            with torch.no_grad():
                values = stacked(candidates.flatten(0, 1)).reshape(count, size)
            highest = values.max(0)
            images = candidates[highest.indices, places]
            higher = highest.values > best_values
            best = torch.where(higher.reshape(-1, *[1] * (images.dim() - 1)), images, best)
            best_values = torch.where(higher, highest.values, best_values)
        return Crafted(views=best[None], state=state)

    def _start(self, members: Sequence[FirstOrderAttack], given: AttackInput) -> Tensor:
        if not self.random_start:
            return given.images
        starts = torch.stack([member.init(given) for member in members])
        choice = given.generator.at("msd").integers(0, len(members) - 1)
        return starts[choice, torch.arange(len(choice), device=choice.device)]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(steps=3), cls(steps=3, random_start=True, objective="margin")]


def _first_order(attack: Attack) -> FirstOrderAttack:
    if not isinstance(attack, FirstOrderAttack):
        raise OptionError(
            "",
            owner="unions.msd",
            got=f"the attack {attack!r}",
            allowed="attacks that move along one gradient (with init and step, such as attacks.pgd)",
        )
    return attack
