"""Every attack's examples, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch

import matx
from matx.interfaces import Attack, AttackInput, Crafted, run_attack


@matx.unions.register("average")
@dataclass(frozen=True, kw_only=True)
class Average:
    """One view per attack; losses average over views, in one update (AVG of Tramer and Boneh 2019, arXiv 1904.13000).

    Of the three variants in the wild this is the mean of the losses: not one update per attack in turn, as in the code
    of Maini et al. 2020, nor a batch divided among the attacks. Costs every attack's passes.
    """

    says_winners: ClassVar[bool] = True

    def start(self) -> matx.State:
        """Nothing: it has no memory."""
        return {}

    def views(self, count: int) -> int:
        """As many as attacks."""
        return count

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: matx.State) -> Crafted:
        views = torch.stack([run_attack(attack, given) for attack in attacks])
        winners = torch.eye(len(attacks), device=views.device)[:, None].expand(-1, views.shape[1], -1)
        return Crafted(views=views, winners=winners, state=state)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]
