"""Contracts of schedules, over short and long trainings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from matx.interfaces import Schedule
from matx.testing.trial import require

__all__ = ["CONTRACTS", "depends_only_on_time", "gives_usable_factors"]

_EPOCHS = (1, 3, 10, 200)


def _times(epochs: int) -> Sequence[float]:
    """Twenty a training and its end, fractions of an epoch among them."""
    return [epochs * index / 20 for index in range(21)]


def gives_usable_factors(schedule: Schedule) -> None:
    """A finite factor of 0 or more at every time, over 0 at some time before the end."""
    for epochs in _EPOCHS:
        factors = [schedule.at(epoch, epochs) for epoch in _times(epochs)]
        for epoch, factor in zip(_times(epochs), factors, strict=True):
            require(isinstance(factor, float | int), f"{schedule!r} gives {type(factor).__name__}, allowed: a number")
            require(
                math.isfinite(factor) and factor >= 0.0,
                f"{schedule!r} gives {factor} at epoch {epoch:g} of {epochs}, allowed: 0 or more",
            )
        require(max(factors[:-1]) > 0.0, f"{schedule!r} is 0 throughout {epochs} epochs: nothing would be trained")


def depends_only_on_time(schedule: Schedule) -> None:
    """Asked again, in another order, it gives the same: a resumed run asks from the middle on."""
    for epochs in _EPOCHS:
        forward = [schedule.at(epoch, epochs) for epoch in _times(epochs)]
        backward = [schedule.at(epoch, epochs) for epoch in reversed(_times(epochs))]
        require(forward == backward[::-1], f"{schedule!r} depends on what was asked before: a resumed run would differ")


CONTRACTS: tuple[Callable[[Any], None], ...] = (gives_usable_factors, depends_only_on_time)
"""The contracts of this file."""
