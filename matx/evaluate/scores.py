"""Figures: counts over samples with their intervals, and the per-sample flags that they count."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from matx.errors import OptionError

__all__ = ["Flags", "PeerScores", "Rate"]

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

    def row(self) -> dict[str, float | int]:
        """{"accuracy", "low", "high", "n"}, as results.json holds it."""
        return {"accuracy": self.accuracy, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True, kw_only=True, eq=False)
class Flags:
    """Per sample, in the order of the split: is it right when clean, does it stand under each threat model?"""

    clean: Tensor
    """(N,) bool on the CPU."""
    threats: Mapping[str, Tensor]
    """{threat key: (N,) bool}; true only where `clean` is."""

    @property
    def union(self) -> Tensor:
        """(N,) bool: stands under every threat model at once."""
        standing = self.clean.clone()
        for flags in self.threats.values():
            standing &= flags
        return standing


@dataclass(frozen=True, kw_only=True, eq=False)
class PeerScores:
    """One classifier's figures, and the flags that they count."""

    clean: Rate
    threats: Mapping[str, Rate]
    """{threat key as written: rate}."""
    union: Rate
    flags: Flags

    @classmethod
    def of(cls, flags: Flags) -> PeerScores:
        """The figures of these flags."""
        threats = {key: Rate.of(standing) for key, standing in flags.threats.items()}
        return cls(clean=Rate.of(flags.clean), threats=threats, union=Rate.of(flags.union), flags=flags)

    def row(self) -> dict[str, Any]:
        """{"clean", "threats", "union"}, as results.json holds it."""
        threats = {key: rate.row() for key, rate in self.threats.items()}
        return {"clean": self.clean.row(), "threats": threats, "union": self.union.row()}
