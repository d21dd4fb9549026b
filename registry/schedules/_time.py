"""What the schedules share: time as a share of training, the warm-up, and the checks of options."""

from __future__ import annotations

import math

from matx.errors import OptionError


def progress(epoch: float, epochs: int) -> float:
    """The share of training that is over."""
    return min(1.0, epoch / epochs)


def rise(epoch: float, warmup: float) -> float:
    """From 0 at the start linearly to 1 after `warmup` epochs."""
    return min(1.0, epoch / warmup) if warmup else 1.0


def cosine_between(start: float, end: float, share: float) -> float:
    """Half a cosine wave from `start` to `end`."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def check_numbers(name: str, **options: float) -> None:
    """Refuse options below 0 (or NaN)."""
    for option, value in options.items():
        if not value >= 0.0:
            raise OptionError(f"schedules.{name}.{option}: got {value}, allowed: 0 or more")


def check_peak(name: str, peak: float) -> None:
    """Refuse a peak so near to start or end that one side has no room to fall."""
    if not 0.01 <= peak <= 0.99:
        raise OptionError(f"schedules.{name}.peak: got {peak}, allowed: 0.01 to 0.99")
