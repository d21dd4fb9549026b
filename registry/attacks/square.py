"""Square: random search with squares that shrink, from the answers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx.draws import SampleGenerator
from matx.errors import OptionError
from matx.interfaces import Goal
from matx.threat import ThreatModel
from registry.attacks._squares import Window, pyramids, tiles, turned

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_BLOCK = 64
"""Numbers are drawn for so many queries at once: on small networks drawing costs as much as the forward."""


@matx.attacks.register("square")
@dataclass(frozen=True, kw_only=True)
class Square:
    """Square attack (Andriushchenko et al. 2020, arXiv 1912.00049; l1: Croce and Hein 2021, arXiv 2103.01208).

    Random search: a proposal is kept if it raises the objective (the margin max_{j != y} z_j - z_y). The window's side
    is sqrt(p H W), with p halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 queries.

        linf: starts from vertical stripes of +-eps; a proposal sets a window to +-eps, one sign a channel
        l2:   starts from a grid of pyramids, scaled to eps; a proposal moves the mass of one window, and what is left
              of the budget, into another one, as its old direction plus a pyramid of random sign and turn
        l1:   the same with steeper pyramids and l1 lengths, projected onto ball ∩ box

    It needs no gradient. A sample whose answer is wrong takes no more queries, unless the strategy supplied an
    objective. Windows are drawn for each sample (the published code draws one for the whole batch): the batch size
    changes nothing.
    """

    threat: ThreatModel
    queries: int = 5000
    restarts: int = 1
    p: float = 0.8
    """The share of the image that the first windows cover."""
    rescale_schedule: bool = False
    """True: stretch the schedule of p, made for 10,000 queries, to the number of queries."""
    kind: ClassVar[Literal["maximise"]] = "maximise"

    def __post_init__(self) -> None:
        for name in ("queries", "restarts"):
            if getattr(self, name) < 1:
                raise OptionError(f"attacks.square.{name}: got {getattr(self, name)}, allowed: 1 or more")
        if not 0.0 < self.p <= 1.0:
            raise OptionError(f"attacks.square.p: got {self.p}, allowed: over 0, to 1")

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Each norm."""
        return tuple(cls(threat=ThreatModel.parse(key), queries=20) for key in ("linf:8/255", "l2:0.5", "l1:12"))

    def __call__(self, goal: Goal) -> Tensor:
        """(N, C, H, W)."""
        with torch.no_grad():
            best = goal.images.clone()
            value = goal.climb("margin")(best).float()
            for restart in range(self.restarts):
                left = _wanted(goal, value).nonzero()[:, 0]
                if len(left) == 0:
                    break
                found, reached = self._run(goal.select(left), restart)
                better = reached > value[left]
                best[left[better]], value[left[better]] = found[better], reached[better]
        return best

    def _run(self, goal: Goal, restart: int) -> tuple[Tensor, Tensor]:
        """((n, C, H, W), (n,)): where one start led, and the objective there."""
        draws = goal.generator.at("square", restart)
        x = self._start(goal.images, draws.at("start"))
        value = goal.climb("margin")(x).float()
        best, reached = x.clone(), value.clone()
        here = torch.arange(len(x), device=x.device)
        numbers = torch.empty(0)
        for query in range(self.queries):
            if query % _BLOCK == 0:
                numbers = draws.at("block", query // _BLOCK).uniform((_BLOCK, 5 + x.shape[1]))
            stays = _wanted(goal, value)
            if not bool(stays.all()):
                best[here], reached[here] = x, value
                goal, draws = goal.select(stays), draws.select(stays)
                x, value, here, numbers = x[stays], value[stays], here[stays], numbers[stays]
                if len(here) == 0:
                    return best, reached
            proposal = self._propose(x, goal.images, numbers[:, query % _BLOCK], query)
            new = goal.climb("margin")(proposal).float()
            better = (new > value).nonzero()[:, 0]
            x[better], value[better] = proposal[better], new[better]
        best[here], reached[here] = x, value
        return best, reached

    def _start(self, clean: Tensor, draws: SampleGenerator) -> Tensor:
        channels, height, width = clean.shape[1:]
        if self.threat.norm == "linf":
            up = draws.uniform((channels, 1, width)) < 0.5
            eps = self.threat.radius
            return torch.where(up, clean + eps, clean - eps).clamp(0.0, 1.0)
        return self._scaled(tiles(draws, (channels, height, width), self.threat.norm), clean)

    def _propose(self, x: Tensor, clean: Tensor, numbers: Tensor, query: int) -> Tensor:
        """`numbers` (n, 5 + C) in [0, 1): the corners of two windows, a flip, and a sign for each channel."""
        height, width = clean.shape[2:]
        side = self._side(query, height, width)
        if self.threat.norm != "linf":
            return self._scaled(self._moved(x - clean, numbers, side), clean)
        window = Window.at(numbers[:, :2], side, height, width)
        old, eps = window.cut(clean), self.threat.radius
        up = numbers[:, 5:, None, None] < 0.5
        return window.paste(x, torch.where(up, old + eps, old - eps).clamp(0.0, 1.0))

    def _moved(self, delta: Tensor, numbers: Tensor, side: int) -> Tensor:
        """The perturbation with the mass of a second window, and the unused budget, moved into a first one."""
        channels, height, width = delta.shape[1:]
        order = 2 if self.threat.norm == "l2" else 1
        into = Window.at(numbers[:, :2], side, height, width)
        out = Window.at(numbers[:, 2:4], side, height, width)
        old, taken = into.cut(delta), out.cut(delta)
        held = _norm(old, order)
        emptied = out.paste(delta, torch.zeros_like(taken))
        mass = _norm(torch.cat([taken.flatten(2), into.cut(emptied).flatten(2)], 2)[..., None], order)
        unused = (self.threat.radius**order - _norm(delta, order).pow(order).sum(1, keepdim=True)).clamp_min(0.0)
        flips = numbers[:, 4:5] < 0.5
        signs = numbers[:, 5:, None, None] < 0.5
        bump = turned(pyramids(side, self.threat.norm, delta.device).expand(*flips.shape, side, side), flips)
        new = torch.where(signs, bump, -bump) + old / held.clamp_min(1e-12)
        length = (unused / channels + mass.pow(order)).pow(1.0 / order)
        new = new / _norm(new, order).clamp_min(1e-12) * length
        return into.paste(emptied, new if order == 2 else new * channels)

    def _scaled(self, delta: Tensor, clean: Tensor) -> Tensor:
        """The images at that perturbation brought to the threat model: l2 by its length, l1 by projection."""
        if self.threat.norm == "l1":
            return self.threat.project(clean + delta, clean)
        length = torch.linalg.vector_norm(delta.flatten(1), dim=1).clamp_min(1e-12)
        scale: Tensor = self.threat.radius / length
        return (delta * scale.reshape(-1, 1, 1, 1)).add_(clean).clamp_(0.0, 1.0)

    def _side(self, query: int, height: int, width: int) -> int:
        """The window's side at a query; in l2 and l1 an odd number of at least 3 where it fits."""
        spent = int(query / self.queries * 10000) if self.rescale_schedule else query
        share = self.p / 2 ** sum(spent > bound for bound in _HALVINGS)
        side = max(round(math.sqrt(share * height * width)), 1)
        if self.threat.norm != "linf":
            side = max(side, 3) | 1
        return min(side, height, width)


def _wanted(goal: Goal, value: Tensor) -> Tensor:
    """(n,) bool: still to be climbed; all where a strategy supplied the objective."""
    return value <= 0 if goal.objective is None else torch.ones_like(value, dtype=torch.bool)


def _norm(content: Tensor, order: int) -> Tensor:
    """(n, C, 1, 1): the norm of each channel."""
    length: Tensor = torch.linalg.vector_norm(content.flatten(2), order, dim=2)
    return length[..., None, None]
