"""One attack a batch, the likelier the more it hurts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch

import matx
from matx.interfaces import Attack, AttackInput, Crafted, run_attack
from matx.randomness import hashed
from registry.unions._winners import all_from


@matx.unions.register("adaptive")
@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """One view, of one attack a batch, drawn in proportion to 1 - its running robust accuracy (E-AT).

    Croce and Hein 2022 (arXiv 2105.12508), who face l_inf and l1 only: their hull covers the l2 ball. Accuracies count
    all training examples since the start; until every attack has been used once, all are equally likely. The published
    code takes them from the training forward; here they are the attacked peer's own predictions, in its attack mode.
    State: {"right.0": correct examples of attack 0, "seen.0": all of them, ...}. Costs one attack's passes and one
    forward.
    """

    says_winners: ClassVar[bool] = True

    def start(self) -> matx.State:
        """Nothing seen yet."""
        return {}

    def views(self, count: int) -> int:
        """One."""
        return 1

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: matx.State) -> Crafted:
        drawn = _drawn(self.weights(len(attacks), state), given)
        images = run_attack(attacks[drawn], given)
        with torch.no_grad():
            right = int((given.judge(images).argmax(-1) == given.labels).sum())
        counts = {f"right.{drawn}": right, f"seen.{drawn}": len(images)}
        new = {**state, **{name: state.get(name, 0.0) + more for name, more in counts.items()}}
        return Crafted(views=images[None], winners=all_from(drawn, len(attacks), given), state=new)

    def weights(self, count: int, state: matx.State) -> list[float]:
        """The probability of each of so many attacks."""
        seen = [float(state.get(f"seen.{index}", 0.0)) for index in range(count)]
        if min(seen) == 0:
            return [1.0 / count] * count
        errors = [1.0 - float(state[f"right.{index}"]) / seen[index] for index in range(count)]
        total = sum(errors)
        return [error / total for error in errors] if total > 0 else [1.0 / count] * count

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]


def _drawn(weights: Sequence[float], given: AttackInput) -> int:
    """An index with these probabilities, the same for the whole batch."""
    point = hashed(given.generator.key, "adaptive", given.epoch, given.step, bits=32) / 2**32
    for index, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return index
    return len(weights) - 1
