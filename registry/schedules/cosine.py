"""Half a cosine wave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import matx
from matx.options import Range
from registry.schedules._time import cosine_between, progress, rise


@matx.schedules.register("cosine")
@dataclass(frozen=True, kw_only=True)
class Cosine:
    """(1 + cos(pi t)) / 2 at the share t of training (Loshchilov and Hutter 2017, arXiv 1608.03983, no restarts)."""

    warmup: Annotated[float, Range(0)] = 0.0
    """Epochs of linear rise from 0, on top."""

    def at(self, epoch: float, epochs: int) -> float:
        """The factor at a (fractional) epoch of so many."""
        return rise(epoch, self.warmup) * cosine_between(1.0, 0.0, progress(epoch, epochs))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(warmup=2.0)]
