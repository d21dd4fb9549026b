"""A range of numbers, for an option's annotation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from matx.errors import OptionError

__all__ = ["Range"]


LARGEST = 3.4028234663852886e38
"""Of the 32-bit numbers."""


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, as in `alpha: Annotated[float, Range(0, 1)]`; NaN lies in none.

    Nor does what is too large for the 32-bit numbers that networks calculate with.

    `open` names the ends that are excluded themselves.

    >>> from dataclasses import dataclass
    >>> from typing import Annotated
    >>> import matx
    >>> @matx.schedules.register("flat_example")
    ... @dataclass(frozen=True, kw_only=True)
    ... class Flat:
    ...     level: Annotated[float, matx.Range(0, 1)] = 1.0
    >>> Flat(level=2.0)
    Traceback (most recent call last):
    ...
    matx.errors.OptionError: schedules.flat_example.level: got 2.0, allowed: 0 to 1
    >>> _ = matx.schedules.components.pop("flat_example")
    """

    low: float = -math.inf
    high: float = math.inf
    open: Literal["neither", "low", "high", "both"] = "neither"

    def __post_init__(self) -> None:
        numbers = all(isinstance(end, int | float) and not math.isnan(end) for end in (self.low, self.high))
        if not numbers or self.low > self.high or (self.low == self.high and self.open != "neither"):
            raise OptionError("Range", got=f"{self.low!r} to {self.high!r}", allowed="a low end under the high end")
        if self.open not in ("neither", "low", "high", "both"):
            raise OptionError("Range.open", got=repr(self.open), allowed="'neither', 'low', 'high', 'both'")

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open in ("low", "both") else value >= self.low
        below = value < self.high if self.open in ("high", "both") else value <= self.high
        return above and below and abs(value) <= LARGEST

    def __str__(self) -> str:
        low = f"over {self.low}" if self.open in ("low", "both") else f"{self.low} or more"
        high = f"below {self.high}" if self.open in ("high", "both") else f"at most {self.high}"
        if math.isinf(self.high):
            return "any" if math.isinf(self.low) else low
        if math.isinf(self.low):
            return high
        return f"{self.low} to {self.high}" if self.open == "neither" else f"{low}, {high}"
