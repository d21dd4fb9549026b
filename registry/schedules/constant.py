"""The full learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import matx
from matx.options import Range
from registry.schedules._time import rise


@matx.schedules.register("constant")
@dataclass(frozen=True, kw_only=True)
class Constant:
    """The factor is 1."""

    warmup: Annotated[float, Range(0)] = 0.0
    """Epochs of linear rise from 0, on top."""

    def at(self, epoch: float, epochs: int) -> float:
        """The factor at a (fractional) epoch of so many."""
        return rise(epoch, self.warmup)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(warmup=2.0)]
