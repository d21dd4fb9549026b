"""A plug-in: one file that registers one new schedule of the learning rate. Copy it, rename it, change the curve.

matx show schedules.exponential --plugin examples/my_schedule.py
matx check schedules.exponential --plugin examples/my_schedule.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import matx
from matx.options import Range


@matx.schedules.register("exponential")
@dataclass(frozen=True, kw_only=True)
class Exponential:
    """last^t at the share t of training: from 1 to `last`, by the same factor each epoch."""

    # Options are fields; their annotation says what gin files, `matx show` and `matx tune` allow.
    last: Annotated[float, Range(0, 1, open="low")] = 0.01
    """The factor at the end."""

    def at(self, epoch: float, epochs: int) -> float:
        """The factor on the optimizer's learning rate at a (fractional) epoch of so many."""
        # A function of time alone: a resumed run asks from the middle on, and must be told the same.
        return float(self.last ** min(1.0, epoch / epochs))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """An instance for each way of use: the contracts are tried on these."""
        return [cls(), cls(last=1.0)]
