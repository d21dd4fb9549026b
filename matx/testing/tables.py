"""Exchanges for the contracts of strategies: random logits for all that is declared, keyed by place, not by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss, State
from matx.interfaces import Stateful, Strategy
from matx.randomness import SampleGenerator, hashed

__all__ = ["CLASSES", "COUNT", "Table", "groups", "table_of"]

CLASSES = 5
COUNT = 6

Entries = dict[tuple[str, str], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """All that peers could exchange in one step; `exchange` shows what one group may read."""

    cast: tuple[PeerInfo, ...]
    needs: Needs
    trained: Entries
    taught: Entries
    averaged: Entries
    labels: Tensor
    state: State = field(default_factory=dict)
    progress: float = 0.5
    epoch: int = 3

    def exchange(self, group: Sequence[str]) -> Exchange:
        """What the losses of these peers may read."""
        return Exchange(
            labels=self.labels,
            num_classes=CLASSES,
            epoch=self.epoch,
            step=10 * self.epoch,
            progress=self.progress,
            peers=self.cast,
            state=self.state,
            trained={key: value for key, value in self.trained.items() if key[0] in group},
            taught=self.taught,
            averaged=self.averaged,
        )

    def losses(self, strategy: Strategy) -> dict[str, PeerLoss]:
        """The loss of every trained peer, each from its own group's exchange."""
        found: dict[str, PeerLoss] = {}
        for group in groups(self.needs):
            exchange = self.exchange(group)
            found |= {name: strategy.loss(exchange, name) for name in group}
        return found

    def scaled(self, factor: float) -> Table:
        """The same with all logits times a factor."""
        return replace(
            self,
            trained={key: (value.detach() * factor).requires_grad_() for key, value in self.trained.items()},
            taught={key: value * factor for key, value in self.taught.items()},
            averaged={key: value * factor for key, value in self.averaged.items()},
        )

    def renamed(self, names: Mapping[str, str]) -> Table:
        """The same under other names."""

        def moved(entries: Entries) -> Entries:
            return {(names[peer], names.get(source, source)): value for (peer, source), value in entries.items()}

        return replace(
            self,
            cast=tuple(replace(info, name=names[info.name]) for info in self.cast),
            trained=moved(self.trained),
            taught=moved(self.taught),
            averaged=moved(self.averaged),
        )

    def leaves(self, peers: Iterable[str]) -> list[Tensor]:
        """The training logits of some peers."""
        wanted = set(peers)
        return [value for (peer, _), value in self.trained.items() if peer in wanted]


def groups(needs: Needs) -> list[tuple[str, ...]]:
    """The trained peers, those together that share a backward."""
    found: list[tuple[str, ...]] = []
    for name in needs.train:
        group = next((coupled for coupled in needs.couples if name in coupled), (name,))
        if group not in found:
            found.append(tuple(group))
    return found


def table_of(strategy: Strategy, cast: Sequence[PeerInfo], *, also: Needs | None = None) -> Table:
    """Random logits for what the strategy (and `also`) declares; the same peer and source always get the same."""
    needs = strategy.needs(cast)
    views = {CLEAN: 1} | {info.name: info.views for info in cast}
    places = {CLEAN: len(cast)} | {info.name: place for place, info in enumerate(cast)}
    declared = [one for one in (needs, also) if one is not None]

    def entries(kind: str, pairs: Iterable[tuple[str, str]], *, grad: bool) -> Entries:
        made = {}
        for peer, source in sorted(set(pairs)):
            generator = SampleGenerator(hashed(kind, places[peer], places[source]), torch.arange(COUNT))
            logits = 2.0 * generator.normal((views[source], CLASSES)).transpose(0, 1).contiguous()
            made[peer, source] = logits.requires_grad_(grad)
        return made

    train = [(peer, source) for one in declared for peer, sources in one.train.items() for source in sources]
    return Table(
        cast=tuple(cast),
        needs=needs,
        trained=entries("train", train, grad=True),
        taught=entries("teach", (pair for one in declared for pair in one.teach), grad=False),
        averaged=entries("ema", (pair for one in declared for pair in one.ema), grad=False),
        labels=torch.arange(COUNT) % CLASSES,
        state=strategy.start() if isinstance(strategy, Stateful) else {},
    )
