"""Every attack's examples, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

import matx
from matx.interfaces import Attack, AttackInput, run_attack


@matx.unions.register("average")
@dataclass(frozen=True, kw_only=True)
class Average:
    """One view per attack; losses average over views, in one update (AVG of Tramer and Boneh 2019, arXiv 1904.13000).

    Of the three variants in the wild this is the mean of the losses: not one update per attack in turn, as in the code
    of Maini et al. 2020, nor a batch divided among the attacks. Costs every attack's passes.
    """

    def start(self) -> matx.State:
        """Nothing: it has no memory."""
        return {}

    def views(self, count: int) -> int:
        """As many as attacks."""
        return count

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: matx.State) -> tuple[Tensor, matx.State]:
        return torch.stack([run_attack(attack, given) for attack in attacks]), state

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]
