"""Steps down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import matx
from matx.options import Range
from registry.schedules._time import progress, rise


@matx.schedules.register("piecewise")
@dataclass(frozen=True, kw_only=True)
class Piecewise:
    """Times `factor` at each milestone."""

    milestones: Sequence[float] = (0.5, 0.75)
    """Shares of the epochs (values under 1) or epochs."""
    factor: Annotated[float, Range(0)] = 0.1
    warmup: Annotated[float, Range(0)] = 0.0
    """Epochs of linear rise from 0, on top."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))

    def at(self, epoch: float, epochs: int) -> float:
        """The factor at a (fractional) epoch of so many."""
        done = progress(epoch, epochs)
        shares = [m if m < 1.0 else m / epochs for m in self.milestones]
        factor: float = self.factor ** sum(done >= share for share in shares)
        return rise(epoch, self.warmup) * factor

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(milestones=[1, 0.9], factor=0.5, warmup=0.5)]
