"""Exchanges for the contracts of strategies: random logits for all that is declared, keyed by place, not by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from matx.engine.compose import groups
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss, State
from matx.interfaces import Stateful, Strategy
from matx.randomness import SampleGenerator, hashed
from matx.testing.trial import device

__all__ = ["CLASSES", "COUNT", "Table", "table_of"]

CLASSES = 5
COUNT = 6

Entries = dict[tuple[str, str], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """All that peers could exchange in one step; `exchange` shows what one group may read."""

    peers: tuple[PeerInfo, ...]
    needs: Needs
    train: Entries
    teach: Entries
    ema: Entries
    labels: Tensor
    winners: Mapping[str, Tensor] = field(default_factory=dict)
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
            peers=self.peers,
            state=self.state,
            train={key: value for key, value in self.train.items() if key[0] in group},
            teach=self.teach,
            ema=self.ema,
            winners=self.winners,
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
            train={key: (value.detach() * factor).requires_grad_() for key, value in self.train.items()},
            teach={key: value * factor for key, value in self.teach.items()},
            ema={key: value * factor for key, value in self.ema.items()},
        )

    def renamed(self, names: Mapping[str, str]) -> Table:
        """The same under other names."""

        def moved(entries: Entries) -> Entries:
            return {(names[peer], names.get(source, source)): value for (peer, source), value in entries.items()}

        return replace(
            self,
            peers=tuple(replace(info, name=names[info.name]) for info in self.peers),
            train=moved(self.train),
            teach=moved(self.teach),
            ema=moved(self.ema),
            winners={names[peer]: value for peer, value in self.winners.items()},
        )

    def leaves(self, names: Iterable[str]) -> list[Tensor]:
        """The training logits of some peers."""
        wanted = set(names)
        return [value for (peer, _), value in self.train.items() if peer in wanted]


def table_of(strategy: Strategy, peers: Sequence[PeerInfo], *, also: Needs | None = None) -> Table:
    """Random logits for what the strategy (and `also`) declares; the same peer and source always get the same."""
    needs = strategy.needs(peers)
    views = {CLEAN: 1} | {info.name: info.views for info in peers}
    places = {CLEAN: len(peers)} | {info.name: place for place, info in enumerate(peers)}
    declared = [one for one in (needs, also) if one is not None]

    def entries(kind: str, pairs: Iterable[tuple[str, str]], *, grad: bool) -> Entries:
        made = {}
        for peer, source in sorted(set(pairs)):
            generator = SampleGenerator(
                hashed(kind, places[peer], places[source]), torch.arange(COUNT, device=device())
            )
            logits = 2.0 * generator.normal((views[source], CLASSES)).transpose(0, 1).contiguous()
            made[peer, source] = logits.requires_grad_(grad)
        return made

    train = [(peer, source) for one in declared for peer, sources in one.train.items() for source in sources]
    return Table(
        peers=tuple(peers),
        needs=needs,
        train=entries("train", train, grad=True),
        teach=entries("teach", (pair for one in declared for pair in one.teach), grad=False),
        ema=entries("ema", (pair for one in declared for pair in one.ema), grad=False),
        labels=torch.arange(COUNT, device=device()) % CLASSES,
        winners={info.name: _winners(info) for info in peers if info.name in needs.winners},
        state=strategy.start() if isinstance(strategy, Stateful) else {},
    )


def _winners(info: PeerInfo) -> Tensor:
    """(views, COUNT, attacks): attacks in turn over views and samples, and a tie of all on the first."""
    count = len(info.threats)
    turns = (torch.arange(info.views)[:, None] + torch.arange(COUNT)) % count
    winners = torch.nn.functional.one_hot(turns, count).float().to(device())
    winners[:, 0] = 1.0 / count
    return winners
