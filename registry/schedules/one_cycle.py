"""Up and down, along cosines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import matx
from matx.options import Range
from registry.schedules._time import cosine_between, progress, rise


@matx.schedules.register("one_cycle")
@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Cosine from 1/25 to 1 at `peak`, then cosine to 1e-5 (Smith and Topin 2019, arXiv 1708.07120)."""

    peak: Annotated[float, Range(0.01, 0.99)] = 0.4
    """The share of training at which the rate is highest."""
    warmup: Annotated[float, Range(0)] = 0.0
    """Epochs of linear rise from 0, on top."""

    def at(self, epoch: float, epochs: int) -> float:
        """The factor at a (fractional) epoch of so many."""
        done = progress(epoch, epochs)
        if done < self.peak:
            factor = cosine_between(1 / 25, 1.0, done / self.peak)
        else:
            factor = cosine_between(1.0, 1e-5, (done - self.peak) / (1.0 - self.peak))
        return rise(epoch, self.warmup) * factor

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(peak=0.1, warmup=1.0)]
