"""Counts over samples with their intervals, and the per-sample flags that they count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from matx.errors import OptionError
from matx.interfaces import Column, Figure

__all__ = ["Flags", "Rate", "counted"]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of samples, `correct` of `n`, with its 95 % interval."""

    correct: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.n or self.n < 1:
            raise OptionError(f"Rate: got {self.correct} of {self.n}, allowed: 0 to n of at least one sample")

    @classmethod
    def of(cls, flags: Tensor) -> Rate:
        """The share of true flags."""
        return cls(correct=int(flags.sum()), n=len(flags))

    @property
    def accuracy(self) -> float:
        """correct / n."""
        return self.correct / self.n

    @property
    def low(self) -> float:
        """The lower end of the Wilson interval (Wilson 1927), at 95 %."""
        return _wilson(self.correct, self.n)[0]

    @property
    def high(self) -> float:
        """The upper end of the Wilson interval, at 95 %."""
        return _wilson(self.correct, self.n)[1]


@cache
def _wilson(correct: int, n: int) -> tuple[float, float]:
    from scipy.stats import binomtest  # 0.6 s, which listing and checking need not wait for

    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True, kw_only=True, eq=False)
class Flags:
    """Per sample, in the order of the split: is it right when clean, is it robust under each threat model?"""

    clean: Tensor
    """(N,) bool on the CPU."""
    threats: Mapping[str, Tensor]
    """{threat key: (N,) bool}; true only where `clean` is."""

    @property
    def union(self) -> Tensor:
        """(N,) bool: robust under every threat model at once."""
        robust = self.clean.clone()
        for flags in self.threats.values():
            robust &= flags
        return robust

    def rates(self) -> dict[str, Rate]:
        """{'clean', each threat key, 'union': rate}."""
        return {
            name: Rate.of(flags) for name, flags in {"clean": self.clean, **self.threats, "union": self.union}.items()
        }


def counted(column: Column, flags: Tensor) -> Figure:
    """The share of true flags as a figure with Wilson's interval; of no sample, 0 without an interval."""
    if len(flags) == 0:
        return Figure(column=column, n=0, correct=0, value=0.0)
    rate = Rate.of(flags)
    return Figure(column=column, n=rate.n, correct=rate.correct, value=rate.accuracy, low=rate.low, high=rate.high)
