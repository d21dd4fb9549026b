"""What the schedules share: time as a share of training, and the warm-up."""

from __future__ import annotations

import math


def progress(epoch: float, epochs: int) -> float:
    """The share of training that is over."""
    return min(1.0, epoch / epochs)


def rise(epoch: float, warmup: float) -> float:
    """From 0 at the start linearly to 1 after `warmup` epochs."""
    return min(1.0, epoch / warmup) if warmup else 1.0


def cosine_between(start: float, end: float, share: float) -> float:
    """Half a cosine wave from `start` to `end`."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))
