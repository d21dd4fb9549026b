"""What Square proposes, and the logits of proposals by computing only what they change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from matx.interfaces import AttackInput, LogitObjective
from registry.attacks._incremental import Maps, Network, follow, plan_for
from registry.attacks._squares import Window

_WORTH_IT = 0.9
"""Follow a network where that is estimated to cost less than so many whole forwards."""
_MEMORY = 2**30
"""And where its maps take at most so many bytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposal:
    """What one window, or two of which the second goes over the first, would hold; for l1 the image itself."""

    windows: tuple[Window, ...] = ()
    contents: tuple[Tensor, ...] = ()
    """(n, C, side, side) each."""
    whole: Tensor | None = None
    """(n, C, H, W)."""

    def images(self, x: Tensor) -> Tensor:
        """(n, C, H, W): x with the proposal in it."""
        if self.whole is not None:
            return self.whole
        for window, content in zip(self.windows, self.contents, strict=True):
            x = window.paste(x, content)
        return x

    def agreed(self, x: Tensor) -> tuple[Tensor, ...]:
        """The contents as they are once all are in x: what lies under a later window is that one's."""
        if len(self.windows) == 1:
            return self.contents
        images = self.images(x)
        return tuple(window.cut(images) for window in self.windows)

    def select(self, rows: Tensor) -> Proposal:
        """For some of the images."""
        return Proposal(
            windows=tuple(window.select(rows) for window in self.windows),
            contents=tuple(content[rows] for content in self.contents),
            whole=None if self.whole is None else self.whole[rows],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Follower:
    """The logits of images with changed windows, computed only as far as those reach, where that is less work."""

    network: Network
    windows: int
    """How many a proposal has."""
    maps: Maps | None = None

    @classmethod
    def of(cls, given: AttackInput, windows: int) -> Follower | None:
        """None where the objective needs more than the logits, or the network cannot be followed."""
        objective = given.objective_for("margin")
        if not isinstance(objective, LogitObjective) or objective.model is not given.model:
            return None
        network = follow(given.model, given.images)
        return None if network is None else cls(network=network, windows=windows)

    def at(self, side: int, x: Tensor, ahead: int) -> Follower:
        """For windows of another side, so many for each image at once."""
        plan = plan_for(self.network, side)
        worth_it = plan.cost(len(x) * ahead, self.windows) < _WORTH_IT and plan.memory * len(x) <= _MEMORY
        return replace(self, maps=Maps.of(plan, x) if worth_it else None)

    def select(self, rows: Tensor) -> Follower:
        """For some of the images."""
        return self if self.maps is None else replace(self, maps=self.maps.select(rows))

    def logits(self, rows: Tensor, x: Tensor, proposal: Proposal) -> Tensor | None:
        """(p, classes): the network's logits on proposals for the rows (p,), now x (p, C, H, W); None where a whole
        forward is due."""
        if self.maps is None:
            return None
        tops = torch.stack([window.top for window in proposal.windows])
        lefts = torch.stack([window.left for window in proposal.windows])
        return self.maps.logits(rows, tops, lefts, torch.stack(proposal.agreed(x)))

    def accept(self, proposals: Tensor) -> None:
        """Rows were moved to these (k,) of the proposals last evaluated."""
        if self.maps is not None:
            self.maps.accept(proposals)
