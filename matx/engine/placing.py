"""Peers placed on processes: each owns some of them; within a step images and detached logits cross, no gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from matx.data import Batch
from matx.distributed import Planned, exchange, merged
from matx.engine.training import Training
from matx.exchange import CLEAN, Crafted, PeerLoss
from matx.experiment import peer_infos
from matx.interfaces import sources_of

__all__ = ["exchanged_examples", "exchanged_logits", "of_all_peers", "owned"]


def owned(training: Training) -> tuple[str, ...]:
    """The trained peers of this process."""
    return tuple(name for name in training.needs.train if training.places.owns(name))


def exchanged_examples(
    training: Training, names: Iterable[str], crafted: Mapping[str, Crafted], batch: Batch
) -> dict[str, Crafted]:
    """The examples of these peers, where another process than their owner's reads them."""
    if training.places.peers.size == 1:
        return dict(crafted)
    plan = {}
    for name in names:
        if not _crosses(training, name):
            continue
        views, owner = _views(training, name), training.places.owners[name]
        plan[name, "views"] = Planned(
            source=owner, shape=(views, *batch.images.shape), device=training.device, dtype=batch.images.dtype
        )
        if name in training.needs.winners:
            shape = (views, len(batch.labels))
            plan[name, "winners"] = Planned(source=owner, shape=shape, device=training.device, dtype=torch.int64)
    own = {key: value for key in plan if (value := _own(crafted, *key)) is not None}
    found = exchange(training.places.peers, own, plan)
    made = {
        name: Crafted(views=found[name, "views"], winners=found.get((name, "winners")))
        for name, what in plan
        if what == "views" and name not in crafted
    }
    return {**crafted, **made}


def _own(crafted: Mapping[str, Crafted], name: str, what: str) -> Tensor | None:
    return getattr(crafted[name], what) if name in crafted else None


def _crosses(training: Training, source: str) -> bool:
    """Whether a process that does not own a peer reads its examples."""
    needs, owner = training.needs, training.places.owners[source]
    readers = {peer for peer, sources in needs.train.items() if source in sources}
    readers |= {peer for peer, read in needs.teach | needs.ema if read == source}
    for name, peer in training.experiment.peers.items():
        readers |= {name for attack in peer.attacks if source in sources_of(attack)}
    return source in needs.winners or any(training.places.owners[reader] != owner for reader in readers)


def exchanged_logits(
    training: Training, known: Mapping[tuple[str, str], Tensor], missing: Iterable[tuple[str, str]], images: int
) -> dict[tuple[str, str], Tensor]:
    """The teachers' logits on so many images, those of other processes' peers among them."""
    plan = {
        (peer, source): Planned(
            source=training.places.owners.get(peer, 0),
            shape=(_views(training, source), images, training.data.num_classes),
            device=training.device,
        )
        for peer, source in missing
    }
    return {**known, **exchange(training.places.peers, {key: known[key] for key in plan if key in known}, plan)}


def _views(training: Training, source: str) -> int:
    """How many views a source has."""
    infos = {info.name: info.views for info in peer_infos(training.experiment)}
    return 1 if source == CLEAN else infos[source]


def of_all_peers(
    training: Training, losses: Mapping[str, PeerLoss], rates: Mapping[str, float]
) -> tuple[dict[str, PeerLoss], dict[str, float]]:
    """The losses and learning rates of a step, of every process's peers."""
    if training.places.peers.size == 1:
        return dict(losses), dict(rates)
    own: dict[str, Any] = {
        name: ({term: float(value) for term, value in loss.terms.items()}, _plain(loss.state), rates[name])
        for name, loss in losses.items()
    }
    every = merged(training.places.peers, own)
    nothing = torch.zeros(())
    found = {
        name: replace(
            PeerLoss(total=nothing),
            terms={term: torch.tensor(value, dtype=torch.float64) for term, value in every[name][0].items()},
            state=every[name][1],
        )
        for name in training.needs.train
    }
    return found, {name: every[name][2] for name in training.needs.train}


def _plain(state: Mapping[str, Tensor | float] | None) -> Mapping[str, Tensor | float] | None:
    if state is None:
        return None
    return {key: value.cpu() if isinstance(value, Tensor) else value for key, value in state.items()}
