"""The maps of a batch of images, kept so that a change of a window costs what it touches."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from registry.attacks._incremental.plan import WindowPlan
from registry.attacks._incremental.reach import Area

__all__ = ["Maps"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Change:
    """m = v p windows, v in each of p changed images: the first ones of all, then the second ones."""

    images: Tensor
    """(m,) int64: of which image each is a change."""
    tops: Tensor
    lefts: Tensor
    at: Tensor
    """(m,) int64: the window's place in the image, counted row by row."""
    views: int

    @property
    def count(self) -> int:
        """p."""
        return len(self.at) // self.views

    @classmethod
    def of(cls, images: Tensor, tops: Tensor, lefts: Tensor, places_a_row: int) -> _Change:
        """Windows of the images (p,) at (v, p) tops and lefts."""
        at = (tops * places_a_row + lefts).flatten()
        return cls(images=images.repeat(len(tops)), tops=tops.flatten(), lefts=lefts.flatten(), at=at, views=len(tops))

    def select(self, rows: Tensor) -> _Change:
        """Some of the m windows."""
        images, tops, lefts, at = (part[rows] for part in (self.images, self.tops, self.lefts, self.at))
        return _Change(images=images, tops=tops, lefts=lefts, at=at, views=self.views)

    def inside(self, own: Area, area: Area, view: int) -> Tensor:
        """(m, entries): where what covers `own` of the window `view` further on lies within this window's `area`."""
        if view == 0:
            return own.inside(area).index_select(0, self.at)
        tops, lefts = (self.turned(part, view) for part in (self.tops, self.lefts))
        return own.offset(area, (tops, lefts), (self.tops, self.lefts))

    def turned(self, windows: Tensor, view: int) -> Tensor:
        """For each window what belongs to its image's window `view` further on."""
        return windows if view == 0 else windows.roll(-view * self.count, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kept:
    """One map of n images, flattened, with its border of zeros."""

    flat: Tensor
    """(n * height * width, C)."""
    height: int
    width: int
    border: int

    @classmethod
    def of(cls, values: Tensor, border: int) -> _Kept:
        """A copy of (n, C, H, W)."""
        padded = F.pad(values, (border,) * 4).permute(0, 2, 3, 1).contiguous()
        height, width, channels = padded.shape[1:]
        return cls(flat=padded.reshape(-1, channels).clone(), height=height, width=width, border=border)

    def select(self, rows: Tensor) -> _Kept:
        """The maps of some of the images."""
        grid = self.flat.reshape(-1, self.height * self.width, self.flat.shape[1])[rows]
        return _Kept(flat=grid.flatten(0, 1), height=self.height, width=self.width, border=self.border)

    def places(self, area: Area, at: Tensor, images: Tensor) -> Tensor:
        """(m, entries): the rows of `flat` that the area covers for windows at these places of these images."""
        corners, grid = area.indices(self.width, self.border)
        first = corners.index_select(0, at).add_(images, alpha=self.height * self.width)
        return first[:, None] + grid

    def read(self, area: Area, change: _Change, own: Area, patch: Tensor) -> Tensor:
        """(m, C, rows, columns): the map within the area, with the patches (m, C, h, w), which cover `own`, in it."""
        count, size = len(change.at), area.rows.size * area.columns.size
        places = self.places(area, change.at, change.images).flatten()
        found = self.flat.index_select(0, torch.cat([places, places[:1]]))  # one more row, for what lies outside
        first = torch.arange(count)[:, None] * size
        for view in range(change.views):
            inside = change.inside(own, area, view).add_(first).clamp_max_(count * size)
            found.index_copy_(0, inside.flatten(), _rows(change.turned(patch, view)))
        return found[:-1].reshape(count, area.rows.size, area.columns.size, -1).permute(0, 3, 1, 2)

    def whole(self, change: _Change, own: Area, patch: Tensor) -> Tensor:
        """(p, C, H, W), with the patches in it, in channels_last memory."""
        grid = self.flat.reshape(-1, self.height * self.width, self.flat.shape[1])
        flat = grid.index_select(0, change.images[: change.count]).flatten(0, 1)
        rows = torch.arange(change.count).repeat(change.views)
        flat.index_copy_(0, self.places(own, change.at, rows).flatten(), _rows(patch))
        grid = flat.reshape(-1, self.height, self.width, flat.shape[1]).permute(0, 3, 1, 2)
        inside = slice(self.border, -self.border or None)
        return grid[:, :, inside, inside]

    def write(self, change: _Change, own: Area, patch: Tensor) -> None:
        """Put the patches into the map."""
        self.flat.index_copy_(0, self.places(own, change.at, change.images).flatten(), _rows(patch))


def _rows(values: Tensor) -> Tensor:
    """(n, C, h, w) -> (n * h * w, C)."""
    return values.permute(0, 2, 3, 1).reshape(-1, values.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Maps:
    """What a network makes of n images, and its logits if windows of them changed."""

    plan: WindowPlan
    kept: dict[fx.Node, _Kept]
    constants: dict[fx.Node, Any]
    _last: dict[str, Any] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def of(cls, plan: WindowPlan, images: Tensor) -> Maps:
        """Computed once, whole."""
        recorder = _Recorder(plan)
        recorder.run(images)
        return cls(plan=plan, kept=recorder.kept, constants=recorder.constants)

    def select(self, rows: Tensor) -> Maps:
        """Of some of the images: indices or a mask."""
        return replace(self, kept={node: one.select(rows) for node, one in self.kept.items()}, _last={})

    @torch.no_grad()
    def logits(self, images: Tensor, tops: Tensor, lefts: Tensor, content: Tensor) -> Tensor:
        """(p, classes): the logits of changed images: of the images (p,), each as often as one likes, if their windows
        at (tops, lefts), each (v, p), had the content (v, p, C, side, side).

        Where windows of one changed image overlap they must hold the same.
        """
        change = _Change.of(images, tops, lefts, self.plan.places_a_row)
        values: dict[fx.Node, Any] = dict(self.constants)
        whole: dict[fx.Node, Tensor] = {}
        for node in self.plan.steps:
            if node.op == "placeholder":
                values[node] = content.flatten(0, 1)
            elif node.op == "output":
                self._last.update(change=change, patches={kept: values[kept] for kept in self.kept})
                logits: Tensor = values[node.all_input_nodes[0]]
                return logits
            else:
                values[node] = self._value(node, values, whole, change)
        raise AssertionError("a graph without an output")

    def accept(self, changed: Tensor) -> None:
        """From now on their images are as some (k,) of the p changed ones last evaluated, at most one an image."""
        last: _Change = self._last["change"]
        rows = torch.cat([changed + view * last.count for view in range(last.views)])
        for node, kept in self.kept.items():
            kept.write(last.select(rows), self.plan.areas[node], self._last["patches"][node][rows])

    def _value(self, node: fx.Node, values: dict[fx.Node, Any], whole: dict[fx.Node, Tensor], change: _Change) -> Any:
        areas, local = self.plan.areas, node in self.plan.areas

        def given(other: fx.Node) -> Any:
            if local and (node, other) in self.plan.reads:
                return self.kept[other].read(self.plan.reads[node, other], change, areas[other], values[other])
            if local or other not in areas:
                return values[other]
            if other not in whole:
                whole[other] = self.kept[other].whole(change, areas[other], values[other])
            return whole[other]

        module = self.plan.modules.get(node)
        if local and isinstance(module, nn.Conv2d):
            patch = given(node.all_input_nodes[0])
            return F.conv2d(patch, module.weight, module.bias, module.stride, 0, module.dilation, module.groups)
        args, kwargs = fx.node.map_arg(node.args, given), fx.node.map_arg(node.kwargs, given)
        if module is not None:
            return module(*args, **kwargs)
        target: Any = node.target
        return getattr(args[0], target)(*args[1:], **kwargs) if node.op == "call_method" else target(*args, **kwargs)


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps a copy of the maps that the plan needs, and what no image changes."""

    def __init__(self, plan: WindowPlan) -> None:
        super().__init__(plan.network.traced)
        self.plan = plan
        self.kept: dict[fx.Node, _Kept] = {}
        self.constants: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The node's value."""
        value = super().run_node(n)
        if n in self.plan.borders:
            self.kept[n] = _Kept.of(value, self.plan.borders[n])
        elif n in self.plan.constants:
            self.constants[n] = value
        return value
