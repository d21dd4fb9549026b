"""How far a change of some pixels reaches in a later map, along one axis, for every place that the change can have."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["Area", "Reach", "Sliding"]

_FAR = 1 << 31
"""Further behind than any map is long; its square still fits."""


@dataclass(frozen=True, kw_only=True)
class Sliding:
    """An operation that slides a kernel over a map, along one axis."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def extent(self) -> int:
        """From the first to the last entry that one output reads."""
        return (self.kernel - 1) * self.dilation + 1

    def outputs(self, length: int) -> int:
        """How long the output of a map of this length is."""
        return (length + 2 * self.padding - self.extent) // self.stride + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Reach:
    """The entries [start, start + size) of an axis of `length` entries: what a change can touch lies inside."""

    starts: Tensor
    """(places,) int64: for a change at 0, 1, 2, ... of the image's axis."""
    size: int
    length: int

    @classmethod
    def of_window(cls, size: int, length: int) -> Reach:
        """In the image itself: a window of this size at each of its places."""
        return cls(starts=torch.arange(length - size + 1), size=size, length=length)

    @classmethod
    def between(cls, first: Tensor, last: Tensor, length: int) -> Reach:
        """The shortest one that holds all of first..last, of one size for all places."""
        first = first.clamp(0, length - 1)
        last = torch.maximum(last.clamp(0, length - 1), first)
        size = int((last - first).max()) + 1
        return cls(starts=first.clamp_max(length - size), size=size, length=length)

    def behind(self, sliding: Sliding) -> Reach:
        """In the operation's output: output o reads the entries o * stride - padding + [0, extent)."""
        first = -((sliding.extent - 1 - sliding.padding - self.starts) // sliding.stride)  # rounded up
        last = (self.starts + self.size - 1 + sliding.padding) // sliding.stride
        return Reach.between(first, last, sliding.outputs(self.length))

    def before(self, sliding: Sliding, length: int) -> Reach:
        """What these outputs read of an input of this length; a negative start, or an end behind it, is padding."""
        size = (self.size - 1) * sliding.stride + sliding.extent
        return Reach(starts=self.starts * sliding.stride - sliding.padding, size=size, length=length)

    def offset(self, other: Reach, here: Tensor, there: Tensor) -> Tensor:
        """(m, size): where the entries, for changes at `here` (m,), lie in another reach, for changes at `there`; far
        behind it if outside."""
        entries = (self.starts[here] - other.starts[there])[:, None] + torch.arange(self.size)
        return entries.masked_fill_((entries < 0) | (entries >= other.size), _FAR)

    def joined(self, other: Reach) -> Reach:
        """The shortest one that holds both."""
        first = torch.minimum(self.starts, other.starts)
        last = torch.maximum(self.starts + self.size, other.starts + other.size) - 1
        return Reach.between(first, last, self.length)

    def equals(self, other: Reach) -> bool:
        """The same entries at every place."""
        return self.size == other.size and torch.equal(self.starts, other.starts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Area:
    """Rows and columns of a map."""

    rows: Reach
    columns: Reach
    _indices: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict, init=False)
    _inside: dict[Area, Tensor] = field(default_factory=dict, init=False)

    @classmethod
    def of_window(cls, side: int, height: int, width: int) -> Area:
        """A square window of the image."""
        return cls(rows=Reach.of_window(side, height), columns=Reach.of_window(side, width))

    @property
    def share(self) -> float:
        """Of the map's entries."""
        return self.rows.size * self.columns.size / (self.rows.length * self.columns.length)

    def behind(self, slidings: tuple[Sliding, Sliding]) -> Area:
        """In the output of an operation, given by rows and by columns."""
        return Area(rows=self.rows.behind(slidings[0]), columns=self.columns.behind(slidings[1]))

    def before(self, slidings: tuple[Sliding, Sliding], height: int, width: int) -> Area:
        """What these outputs read of an input of this size."""
        return Area(rows=self.rows.before(slidings[0], height), columns=self.columns.before(slidings[1], width))

    def joined(self, other: Area) -> Area:
        """The smallest one that holds both."""
        return Area(rows=self.rows.joined(other.rows), columns=self.columns.joined(other.columns))

    def indices(self, width: int, border: int) -> tuple[Tensor, Tensor]:
        """Of a map of this width, flattened: (places,) the first entry for each place of the change, and (k,) what to
        add to it for all the area's entries."""
        if (width, border) not in self._indices:
            corners = (self.rows.starts[:, None] + border) * width + self.columns.starts + border
            grid = torch.arange(self.rows.size)[:, None] * width + torch.arange(self.columns.size)
            self._indices[width, border] = corners.flatten(), grid.flatten()
        return self._indices[width, border]

    def inside(self, other: Area) -> Tensor:
        """(places, entries): where each entry of this area lies in another one, flattened; far behind it if outside."""
        if other not in self._inside:
            tops, lefts = torch.arange(len(self.rows.starts)), torch.arange(len(self.columns.starts))
            place = tops.repeat_interleave(len(lefts)), lefts.repeat(len(tops))
            self._inside[other] = self.offset(other, place, place)
        return self._inside[other]

    def offset(self, other: Area, here: tuple[Tensor, Tensor], there: tuple[Tensor, Tensor]) -> Tensor:
        """(m, entries): the same for changes at m (tops, lefts) of this area, and at others of the other one."""
        rows = self.rows.offset(other.rows, here[0], there[0])
        columns = self.columns.offset(other.columns, here[1], there[1])
        return (rows[:, :, None] * other.columns.size + columns[:, None, :]).flatten(1)

    def equals(self, other: Area) -> bool:
        """The same entries at every place."""
        return self.rows.equals(other.rows) and self.columns.equals(other.columns)
