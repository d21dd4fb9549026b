"""Up and down, linear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import matx
from matx.options import Range
from registry.schedules._time import progress, rise


@matx.schedules.register("triangular")
@dataclass(frozen=True, kw_only=True)
class Triangular:
    """Linear from 0 to 1 at `peak` and down to 0 (Smith 2017, arXiv 1506.01186, with one cycle)."""

    peak: Annotated[float, Range(0.01, 0.99)] = 0.4
    """The share of training at which the rate is highest."""
    warmup: Annotated[float, Range(0)] = 0.0
    """Epochs of linear rise from 0, on top."""

    def at(self, epoch: float, epochs: int) -> float:
        """The factor at a (fractional) epoch of so many."""
        done = progress(epoch, epochs)
        factor = done / self.peak if done < self.peak else (1.0 - done) / (1.0 - self.peak)
        return rise(epoch, self.warmup) * factor

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(peak=0.1, warmup=1.0)]
