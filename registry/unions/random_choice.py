"""One attack, drawn anew for every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from torch.nn.functional import one_hot

import matx
from matx.interfaces import Attack, AttackInput, Crafted, run_attack
from matx.randomness import hashed
from registry.unions._winners import all_from


@matx.unions.register("random_choice")
@dataclass(frozen=True, kw_only=True)
class RandomChoice:
    """One view, of one attack drawn uniformly (SAT: Madaan, Shin and Hwang 2021, arXiv 2006.12135).

    Costs one attack's passes.
    """

    says_winners: ClassVar[bool] = True

    per: Literal["batch", "sample"] = "batch"
    """'batch': one draw a batch, as published; 'sample': one a sample, each attack serving its share of the batch."""

    def start(self) -> matx.State:
        """Nothing: it has no memory."""
        return {}

    def views(self, count: int) -> int:
        """One."""
        return 1

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: matx.State) -> Crafted:
        if self.per == "batch":
            drawn = hashed(given.generator.key, "random_choice", given.epoch, given.step) % len(attacks)
            views = run_attack(attacks[drawn], given)[None]
            return Crafted(views=views, winners=all_from(drawn, len(attacks), given), state=state)
        choice = given.generator.at("random_choice").integers(0, len(attacks) - 1)
        images = given.images.clone()
        for index, attack in enumerate(attacks):
            rows = (choice == index).nonzero().squeeze(1)
            if len(rows) > 0:
                images[rows] = run_attack(attack, given.select(rows))
        return Crafted(views=images[None], winners=one_hot(choice, len(attacks)).float()[None], state=state)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(per="sample")]
