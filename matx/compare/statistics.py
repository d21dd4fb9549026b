"""Intervals of paired differences. Arrays are float64; resampling is seeded, so a table is the same every time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Interval", "crossed_bootstrap", "mcnemar", "paired_bootstrap", "paired_t"]

Array = NDArray[np.float64]
_DRAWS = 10_000


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


def paired_t(differences: Array) -> Interval | None:
    """mean +- t_{n-1, 0.975} s / sqrt(n) over n paired differences (Student 1908); None for fewer than two."""
    count = len(differences)
    if count < 2:
        return None
    half = float(stats.t.ppf(0.975, count - 1)) * float(differences.std(ddof=1)) / count**0.5
    mean = float(differences.mean())
    return Interval(mean - half, mean + half)


def crossed_bootstrap(differences: Array) -> Interval | None:
    """Percentile interval of the mean of (seeds, images) differences, seeds and images both drawn with replacement.

    Every draw takes the same resampled images for all of its seeds (the crossed, "pigeonhole" bootstrap of Owen 2007,
    arXiv 0711.2000), because all runs are tested on the same images. None for fewer than two seeds.
    """
    seeds, images = differences.shape
    if seeds < 2:
        return None
    rng = np.random.default_rng(0)
    means = np.empty(_DRAWS)
    for draw in range(_DRAWS):
        rows = np.bincount(rng.integers(seeds, size=seeds), minlength=seeds)
        columns = np.bincount(rng.integers(images, size=images), minlength=images)
        means[draw] = rows @ differences @ columns / (seeds * images)
    return _percentiles(means)


def paired_bootstrap(differences: Array) -> Interval:
    """Percentile interval of the mean of (images,) differences, images drawn with replacement."""
    rng = np.random.default_rng(0)
    images = len(differences)
    counts = rng.multinomial(images, np.full(images, 1.0 / images), size=_DRAWS)
    return _percentiles(counts @ differences / images)


def mcnemar(first: Array, second: Array) -> float | None:
    """The exact two-sided p of McNemar's test (1947) on right or wrong answers; None where an entry is neither.

    Under no difference, the images that exactly one of the two gets right fall to either with probability 1/2.
    """
    if not (np.isin(first, (0.0, 1.0)).all() and np.isin(second, (0.0, 1.0)).all()):
        return None
    gained, lost = int((second > first).sum()), int((second < first).sum())
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue)


def _percentiles(means: Array) -> Interval:
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(low), float(high))
