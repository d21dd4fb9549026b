"""Intervals of paired differences. Arrays are float64; resampling is seeded, so a table is the same every time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Interval", "crossed_bootstrap", "mcnemar", "paired_bootstrap", "paired_t"]

Array = NDArray[np.float64]
_DRAWS = 10_000
_NUMBERS_AT_ONCE = 2_000_000


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
    means = []
    for draws in _portions(images):
        by_image = rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=draws) @ differences / seeds
        chosen = rng.integers(images, size=(draws, images))
        means.append(np.take_along_axis(by_image, chosen, axis=1).mean(axis=1))
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return Interval(float(low), float(high))


def paired_bootstrap(differences: Array) -> Interval | None:
    """Percentile interval of the mean of (images,) differences, images drawn with replacement; None for one image."""
    images = len(differences)
    if images < 2:
        return None
    found = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=_DRAWS,
        batch=_portions(images)[0],
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


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


def _portions(images: int) -> list[int]:
    """Numbers of draws, `_DRAWS` in all, each of which fits into memory at once."""
    size = min(_DRAWS, max(1, _NUMBERS_AT_ONCE // images))
    return [min(size, _DRAWS - start) for start in range(0, _DRAWS, size)]
