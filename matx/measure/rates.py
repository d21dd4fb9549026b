"""Counts over samples with their intervals, and the per-sample flags that they count."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from matx.errors import OptionError
from matx.interfaces import Column, Figure

__all__ = ["Flags", "Rate", "counted"]

_Z95 = 1.959963984540054


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
        return 0.0 if self.correct == 0 else self._centre() - self._half()

    @property
    def high(self) -> float:
        """The upper end of the Wilson interval, at 95 %."""
        return 1.0 if self.correct == self.n else self._centre() + self._half()

    def _centre(self) -> float:
        return (self.correct + _Z95**2 / 2) / (self.n + _Z95**2)

    def _half(self) -> float:
        spread = self.correct * (self.n - self.correct) / self.n + _Z95**2 / 4
        return _Z95 * math.sqrt(spread) / (self.n + _Z95**2)


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
