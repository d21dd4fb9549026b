"""Figures: counts over samples with their intervals, and the per-sample flags that they count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from torch import Tensor

from matx.errors import OptionError

__all__ = ["Flags", "PeerScores", "Rate"]


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

    def row(self) -> dict[str, float | int]:
        """{"accuracy", "low", "high", "n"}, as results.json holds it."""
        return {"accuracy": self.accuracy, "low": self.low, "high": self.high, "n": self.n}


@cache
def _wilson(correct: int, n: int) -> tuple[float, float]:
    from scipy.stats import binomtest  # 0.6 s, which listing and checking need not wait for

    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True, kw_only=True, eq=False)
class Flags:
    """Per sample, in the order of the split: is it right when clean, does it stand under each threat model?"""

    clean: Tensor
    """(N,) bool on the CPU."""
    threats: Mapping[str, Tensor]
    """{threat key: (N,) bool}; true only where `clean` is."""
    rounded: Mapping[str, Tensor] = field(default_factory=dict)
    """{threat key: (N,) bool}: right on every example that was found, rounded to 8 bits; empty where nobody asked."""
    seconds: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)
    """{'clean' or threat key: what it cost}."""

    @property
    def union(self) -> Tensor:
        """(N,) bool: stands under every threat model at once."""
        return self._all(self.threats)

    @property
    def rounded_union(self) -> Tensor:
        """(N,) bool: right on every rounded example of every threat model."""
        return self._all(self.rounded)

    def of(self, keys: Iterable[str]) -> Flags:
        """The flags of some threat models alone, in this order."""
        chosen = list(keys)
        threats = {key: self.threats[key] for key in chosen}
        return replace(self, threats=threats, rounded={key: self.rounded[key] for key in chosen if self.rounded})

    def _all(self, columns: Mapping[str, Tensor]) -> Tensor:
        standing = self.clean.clone()
        for flags in columns.values():
            standing &= flags
        return standing


@dataclass(frozen=True, kw_only=True, eq=False)
class PeerScores:
    """One classifier's figures, and the flags that they count."""

    clean: Rate
    threats: Mapping[str, Rate]
    """{threat key as written: rate}; empty where samples were not attacked under every threat model."""
    union: Rate
    flags: Flags
    rounded: Mapping[str, Rate] = field(default_factory=dict)
    """{threat key, and 'union': rate} on the 8-bit examples; empty where nobody asked."""

    @classmethod
    def of(cls, flags: Flags, *, per_threat: bool = True) -> PeerScores:
        """The figures of these flags; not `per_threat`: clean and union alone."""
        threats = {key: Rate.of(standing) for key, standing in flags.threats.items() if per_threat}
        rounded = {key: Rate.of(standing) for key, standing in flags.rounded.items() if per_threat}
        if flags.rounded:
            rounded["union"] = Rate.of(flags.rounded_union)
        return cls(
            clean=Rate.of(flags.clean), threats=threats, union=Rate.of(flags.union), flags=flags, rounded=rounded
        )

    def row(self) -> dict[str, Any]:
        """{"clean", "threats", "union"}, as results.json holds it, and "eight_bit" where it was asked."""
        threats = {key: rate.row() for key, rate in self.threats.items()}
        row: dict[str, Any] = {"clean": self.clean.row(), "threats": threats, "union": self.union.row()}
        if self.rounded:
            row["eight_bit"] = {key: rate.row() for key, rate in self.rounded.items()}
        return row
