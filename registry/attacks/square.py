"""Square: random search with squares that shrink, from logits only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx.interfaces import AttackInput, LogitObjective
from matx.options import Range
from matx.randomness import SampleGenerator
from matx.threat import ThreatModel
from registry.attacks._proposals import Follower, Proposal
from registry.attacks._squares import Window, pyramids, tiles, turned

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_AHEAD = 0.25
"""Evaluate so many queries ahead that about so many of them are accepted; those behind an accepted one are repeated."""
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

    It needs no gradient. A misclassified sample takes no more queries, unless the strategy supplied an
    objective. Windows are drawn for each sample (the published code draws one for the whole batch): the batch size
    changes nothing.
    """

    threat: ThreatModel
    queries: Annotated[int, Range(1)] = 5000
    restarts: Annotated[int, Range(1)] = 1
    p: Annotated[float, Range(0, 1, open="low")] = 0.8
    """The share of the image that the first windows cover."""
    rows: Annotated[int, Range(0)] = 0
    """Where fewer samples are left, several queries are evaluated in one forward of up to so many images; the result is
    the same."""
    rescale_schedule: bool = False
    """True: stretch the schedule of p, made for 10,000 queries, to the number of queries."""
    kind: ClassVar[Literal["maximise"]] = "maximise"

    def __call__(self, given: AttackInput) -> Tensor:
        """(N, C, H, W)."""
        with torch.no_grad():
            best = given.images.clone()
            value = given.objective_for("margin")(best).float()
            for restart in range(self.restarts):
                left = _wanted(given, value).nonzero()[:, 0]
                if len(left) == 0:
                    break
                found, reached = self._run(given.select(left), restart)
                better = reached > value[left]
                best[left[better]], value[left[better]] = found[better], reached[better]
        return best

    def _run(self, given: AttackInput, restart: int) -> tuple[Tensor, Tensor]:
        """((n, C, H, W), (n,)): where one start led, and the objective there."""
        draws = given.generator.at("square", restart)
        x = self._start(given.images, draws.at("start"))
        value = given.objective_for("margin")(x).float()
        best, reached = x.clone(), value.clone()
        here = torch.arange(len(x), device=x.device)
        numbers, side, query = torch.empty(0), 0, 0
        windows = {"linf": 1, "l2": 2, "l1": 0}[self.threat.norm]  # in l1 a proposal may differ anywhere
        follower = Follower.of(given, windows) if windows else None
        while query < self.queries:
            if query % _BLOCK == 0:
                numbers = draws.at("block", query // _BLOCK).uniform((_BLOCK, 5 + x.shape[1]))
            stays = _wanted(given, value)
            if not bool(stays.all()):  # waits for the device: a smaller batch is worth more
                best[here], reached[here] = x, value
                given, draws = given.select(stays), draws.select(stays)
                x, value, here, numbers = x[stays], value[stays], here[stays], numbers[stays]
                follower = None if follower is None else follower.select(stays)
                if len(here) == 0:
                    return best, reached
            before, side = side, self._side(query, *x.shape[2:])
            if follower is not None and side != before:
                follower = follower.at(side, x, max(1, self.rows // len(x)))
            count = self._alike(query, *x.shape[2:])
            self._evaluate(given, x, value, numbers[:, query % _BLOCK :][:, :count], side, follower)
            query += count
        best[here], reached[here] = x, value
        return best, reached

    def _alike(self, query: int, height: int, width: int) -> int:
        """How many queries from this one on have windows of its side, and numbers of its block."""
        most = min(_BLOCK - query % _BLOCK, self.queries - query)
        side = self._side(query, height, width)
        return 1 + sum(takewhile(bool, (self._side(query + k, height, width) == side for k in range(1, most))))

    def _evaluate(
        self, given: AttackInput, x: Tensor, value: Tensor, numbers: Tensor, side: int, follower: Follower | None
    ) -> None:
        """Move x and value, in place, through the queries of `numbers` (n, q, 5 + C).

        Where few samples are left, several queries of each are evaluated ahead, on `rows` images in all. Those behind
        an accepted proposal are evaluated again: the results are those of one query after the other.
        """
        objective, count = given.objective_for("margin"), numbers.shape[1]
        order, following = torch.arange(count, device=x.device), torch.zeros_like(given.labels)
        tried, accepted = 1, 1.0
        while True:
            left = _wanted(given, value) & (following < count)
            # Waits for the device: how many queries fit in a forward depends on how many samples are left.
            ahead = min(self.rows // max(int(left.sum()), 1), int(_AHEAD * tried / max(accepted, 1.0)))
            ahead = max(ahead, 1)
            steps = order - following[:, None]
            rows, queries = ((steps >= 0) & (steps < ahead) & left[:, None]).nonzero(as_tuple=True)
            if len(rows) == 0:
                return
            base = x[rows]
            proposal = self._propose(base, given.images[rows], numbers[rows, queries], side)
            here = objective.select(rows)
            logits = None if follower is None else follower.logits(rows, base, proposal)
            if logits is None or not isinstance(here, LogitObjective):
                new = here(proposal.images(base)).float()
            else:
                new = here.of(logits).float()
            following += ahead * left
            taken = _first_of_each(rows, (new > value[rows]).nonzero()[:, 0])
            if len(taken) > 0:
                moved = rows[taken]
                x[moved], value[moved] = proposal.select(taken).images(base[taken]), new[taken]
                following[moved] = queries[taken] + 1
                if follower is not None:
                    follower.accept(taken)
            tried, accepted = tried + len(rows), accepted + len(taken)

    def _start(self, clean: Tensor, draws: SampleGenerator) -> Tensor:
        channels, height, width = clean.shape[1:]
        if self.threat.norm == "linf":
            up = draws.uniform((channels, 1, width)) < 0.5
            eps = self.threat.radius
            return torch.where(up, clean + eps, clean - eps).clamp(0.0, 1.0)
        return self._scaled(tiles(draws, (channels, height, width), self.threat.norm), clean)

    def _propose(self, x: Tensor, clean: Tensor, numbers: Tensor, side: int) -> Proposal:
        """`numbers` (n, 5 + C) in [0, 1): the corners of two windows, a flip, and a sign for each channel."""
        into = Window.at(numbers[:, :2], side, *clean.shape[2:])
        # From the clean pixels, not from those of x: so each proposal lies on the edge of the threat model.
        old, signs = into.cut(clean), numbers[:, 5:, None, None] < 0.5
        if self.threat.norm == "linf":
            eps = self.threat.radius
            return Proposal(windows=(into,), contents=(torch.where(signs, old + eps, old - eps).clamp(0.0, 1.0),))
        out = Window.at(numbers[:, 2:4], side, *clean.shape[2:])
        new = self._moved(x - clean, into, out, numbers[:, 4:5] < 0.5, signs)
        if self.threat.norm == "l2":  # which gives the perturbation the length eps again: nothing else has to be scaled
            return Proposal(windows=(out, into), contents=(out.cut(clean), (old + new).clamp(0.0, 1.0)))
        delta = into.paste(out.paste(x - clean, torch.zeros_like(new)), new * clean.shape[1])
        return Proposal(whole=self._scaled(delta, clean))

    def _moved(self, delta: Tensor, into: Window, out: Window, flips: Tensor, signs: Tensor) -> Tensor:
        """The new content of a window: its own mass, that of a second one, which is emptied, and the unused budget."""
        order = 2 if self.threat.norm == "l2" else 1
        old, taken = into.cut(delta), out.cut(delta)
        before = _norm(old, order)
        left = old * (1.0 - into.covered(out))
        mass = _norm(torch.cat([taken.flatten(2), left.flatten(2)], 2)[..., None], order)
        unused = (self.threat.radius**order - _norm(delta, order).pow(order).sum(1, keepdim=True)).clamp_min(0.0)
        bump = pyramids(into.side, self.threat.norm, delta.device).expand(*flips.shape, into.side, into.side)
        bump = turned(bump, flips)
        new = torch.where(signs, bump, -bump) + old / before.clamp_min(1e-12)
        length = (unused / delta.shape[1] + mass.pow(order)).pow(1.0 / order)
        return new / _norm(new, order).clamp_min(1e-12) * length

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
            side = max(side, 3) | 1  # odd: a pyramid has a pixel in its middle
        return min(side, height, width)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Each norm."""
        return tuple(cls(threat=ThreatModel.parse(key), queries=20) for key in ("linf:8/255", "l2:0.5", "l1:12"))


def _first_of_each(rows: Tensor, places: Tensor) -> Tensor:
    """The first of the places that each row has in `rows`, which is in order."""
    mine = rows[places]
    return places[torch.cat([mine[:1] == mine[:1], mine[1:] != mine[:-1]])]


def _wanted(given: AttackInput, value: Tensor) -> Tensor:
    """(n,) bool: still to be searched for; all where a strategy supplied the objective."""
    return value <= 0 if given.objective is None else torch.ones_like(value, dtype=torch.bool)


def _norm(content: Tensor, order: int) -> Tensor:
    """(n, C, 1, 1): the norm of each channel."""
    length: Tensor = torch.linalg.vector_norm(content.flatten(2), order, dim=2)
    return length[..., None, None]
