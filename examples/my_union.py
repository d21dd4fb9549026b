"""A plug-in: one file that registers one new union of attacks. Copy it, rename it, change which attacks are faced.

matx show unions.in_turn --plugin examples/my_union.py
matx check unions.in_turn --plugin examples/my_union.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import matx
from matx.interfaces import Attack, AttackInput, Crafted, run_attack
from matx.options import Range


@matx.unions.register("in_turn")
@dataclass(frozen=True, kw_only=True)
class InTurn:
    """One view, of one attack after another: attack (t // steps) mod m at step t of training.

    Costs one attack's passes.
    """

    # True: every call fills Crafted.winners. Strategies that need winners refuse unions that say False.
    says_winners: ClassVar[bool] = True

    # Options are fields; their annotation says what gin files, `matx show` and `matx tune` allow.
    steps: Annotated[int, Range(1)] = 1
    """How many steps an attack has before it is the next one's turn."""

    def start(self) -> matx.State:
        """Nothing: it has no memory. A union with one returns its first {name: tensor or number} here."""
        return {}

    def views(self, count: int) -> int:
        """One view, of however many attacks."""
        return 1

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: matx.State) -> Crafted:
        turn = given.step // self.steps % len(attacks)
        # run_attack checks what the attack returns: (N, C, H, W), inside its threat model.
        views = run_attack(attacks[turn], given)[None]
        # (views, N, attacks): 1 for the attack that each example came from.
        winners = views.new_zeros(1, len(given.images), len(attacks))
        winners[:, :, turn] = 1.0
        return Crafted(views=views, winners=winners, state=state)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """An instance for each way of use: the contracts are tried on these."""
        return [cls(), cls(steps=3)]
