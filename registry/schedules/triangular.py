"""Up and down, linear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import matx
from registry.schedules._time import check_numbers, check_peak, progress, rise


@matx.schedules.register("triangular")
@dataclass(frozen=True, kw_only=True)
class Triangular:
    """Linear from 0 to 1 at `peak` and down to 0 (Smith 2017, arXiv 1506.01186, with one cycle)."""

    peak: float = 0.4
    """The share of training at which the rate is highest."""
    warmup: float = 0.0
    """Epochs of linear rise from 0, on top."""

    def __post_init__(self) -> None:
        check_peak("triangular", self.peak)
        check_numbers("triangular", warmup=self.warmup)

    def at(self, epoch: float, epochs: int) -> float:
        """The factor at a (fractional) epoch of so many."""
        done = progress(epoch, epochs)
        factor = done / self.peak if done < self.peak else (1.0 - done) / (1.0 - self.peak)
        return rise(epoch, self.warmup) * factor

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(peak=0.1, warmup=1.0)]
