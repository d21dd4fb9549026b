"""Exchange tables made by hand: a strategy's loss on given logits, without models, attacks or an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import registry
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss, State
from matx.interfaces import Strategy

assert registry.__all__, "importing the built-ins registers them"

Key = tuple[str, str]
SAMPLES, CLASSES = 5, 4
LABELS = torch.tensor([0, 3, 1, 2, 3])


class Recorded(Mapping[Key, Tensor]):
    """A table that remembers what was read."""

    def __init__(self, table: Mapping[Key, Tensor]) -> None:
        self.table = dict(table)
        self.read: set[Key] = set()

    def __getitem__(self, key: Key) -> Tensor:
        self.read.add(key)
        return self.table[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True, kw_only=True, eq=False)
class Logits:
    """Every peer's logits on every source, in training, as a teacher and as a moving average: all different."""

    train: Mapping[Key, Tensor]
    teach: Mapping[Key, Tensor]
    ema: Mapping[Key, Tensor]
    labels: Tensor = field(default_factory=lambda: LABELS)
    winners: Mapping[str, Tensor] = field(default_factory=dict)
    """{peer: (views, SAMPLES, attacks)}."""

    def renamed(self, names: Mapping[str, str]) -> Logits:
        def moved(table: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
            return {(names[p], names.get(s, s)): z for (p, s), z in table.items()}

        return Logits(
            train=moved(self.train),
            teach=moved(self.teach),
            ema=moved(self.ema),
            labels=self.labels,
            winners={names[p]: won for p, won in self.winners.items()},
        )


def logits(peers: Sequence[PeerInfo], seed: int = 0, views: Mapping[str, int] | None = None) -> Logits:
    """Seeded float64 logits; `views` replaces the peers' numbers of views."""
    generator = torch.Generator().manual_seed(seed)
    counts = {CLEAN: 1, **{peer.name: peer.views for peer in peers}, **(views or {})}
    keys = [(peer.name, source) for peer in peers for source, count in counts.items() if count]

    def draw() -> dict[Key, Tensor]:
        return {
            key: 2.0 * torch.randn(counts[key[1]], SAMPLES, CLASSES, generator=generator, dtype=torch.float64)
            for key in keys
        }

    return Logits(train=draw(), teach=draw(), ema=draw(), winners={p.name: _winners(p) for p in peers if p.views})


def _winners(info: PeerInfo) -> Tensor:
    """Under `average` view k is attack k's; else attacks win in turn, and the first sample is a tie of all."""
    count = len(info.threats)
    if info.views == count:
        return torch.eye(count, dtype=torch.float64)[:, None].expand(-1, SAMPLES, -1)
    turns = (torch.arange(info.views)[:, None] + torch.arange(SAMPLES)) % count
    won = torch.nn.functional.one_hot(turns, count).double()
    won[:, 0] = 1.0 / count
    return won


def declared(needs: Needs) -> set[Key]:
    return {(peer, source) for peer, sources in needs.train.items() for source in sources}


def group_of(needs: Needs, peer: str) -> tuple[str, ...]:
    return next((group for group in needs.couples if peer in group), (peer,))


def exchange(
    strategy: Strategy,
    peers: Sequence[PeerInfo],
    values: Logits,
    *,
    progress: float = 1.0,
    state: State | None = None,
    only: Sequence[str] | None = None,
    leaves: Mapping[Key, Tensor] | None = None,
) -> Exchange:
    """The table that an engine would give: declared entries alone, training logits of the peers in `only`."""
    needs = strategy.needs(peers)
    given = values.train if leaves is None else leaves
    return Exchange(
        labels=values.labels,
        num_classes=next(iter(values.train.values())).shape[-1],
        epoch=0,
        step=0,
        progress=progress,
        peers=tuple(peers),
        state=starting_state(strategy) if state is None else state,
        train=Recorded({key: given[key] for key in declared(needs) if only is None or key[0] in only}),
        teach=Recorded({key: values.teach[key] for key in needs.teach}),
        ema=Recorded({key: values.ema[key] for key in needs.ema}),
        winners={name: values.winners[name] for name in needs.winners},
    )


def starting_state(strategy: Strategy) -> State:
    start = getattr(strategy, "start", None)
    return {} if start is None else dict(start())


def losses(strategy: Strategy, peers: Sequence[PeerInfo], values: Logits, **options: Any) -> dict[str, PeerLoss]:
    """Every trained peer's loss, each from a table of its own group."""
    needs = strategy.needs(peers)
    return {
        name: strategy.loss(exchange(strategy, peers, values, only=group_of(needs, name), **options), name)
        for name in needs.train
    }


def totals(strategy: Strategy, peers: Sequence[PeerInfo], values: Logits, **options: Any) -> dict[str, float]:
    return {name: float(loss.total.detach()) for name, loss in losses(strategy, peers, values, **options).items()}
