"""Examples crafted on one model, for others to be asked."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

from torch import Tensor

from matx.craft import forked
from matx.data import Batch
from matx.interfaces import Attack, AttackInput, Model, run_attack
from matx.randomness import SampleGenerator, hashed, seed_for

__all__ = ["crafted_on"]


def crafted_on(source: str, model: Model, attack: Attack, batch: Batch, seed: int) -> Tensor:
    """(N, C, H, W): what the attack finds on the source.

    An attack that would stop at the first misclassified image searches on: such images lie just across the source's
    boundary and transfer badly.
    """
    purpose = (seed, "transfer", attack.threat.norm, str(attack.threat.exact), source)
    draws = SampleGenerator(hashed(*purpose), batch.indices)
    given = AttackInput(model=model, images=batch.images, labels=batch.labels, generator=draws, progress=1.0)
    with forked(seed_for(*purpose, int(batch.indices[0])), batch.images.device):
        return run_attack(_searching_on(attack), given)


def _searching_on(attack: Attack) -> Attack:
    options: Any = attack
    names: list[str] = [entry.name for entry in fields(options)] if is_dataclass(attack) else []
    return cast("Attack", replace(options, early_exit=False)) if "early_exit" in names else attack
