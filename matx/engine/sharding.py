"""A step that several processes share: each takes some samples of the batch, and all end with the same weights.

Draws belong to samples, so a shard is attacked as it would be among all. Nothing is exchanged before a group's losses:
then their values, after the one backward its gradients and running statistics, and at the end what is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from matx.distributed import World, average, gather, total
from matx.engine.training import Training
from matx.errors import RunError
from matx.exchange import PeerLoss, State

__all__ = ["Shard", "average_gradients", "averaged_terms", "merged_states", "refuse_drift", "shards"]


@dataclass(frozen=True)
class Shard:
    """The part of a step's batch that this process takes."""

    rows: Tensor
    share: float
    """Its part of the step's images; 0 where it repeats another's images, since there are too few for every process."""
    images: int
    """Of the whole step."""


def shards(world: World, rows: Tensor, size: int) -> Iterator[Shard]:
    """The steps' batches, `size` rows each, as this process takes them: at least two images, for batch statistics."""
    for start in range(0, len(rows), size):
        whole = rows[start : start + size]
        parts = whole.tensor_split(max(1, min(world.size, len(whole) // 2)))
        own = parts[world.rank % len(parts)]
        yield Shard(own, len(own) / len(whole) if world.rank < len(parts) else 0.0, len(whole))


def average_gradients(training: Training, group: Sequence[str]) -> None:
    """The gradients of the whole batch, and its running statistics: the processes' means, weighted by their images.

    One all-reduce on the bare modules. DistributedDataParallel would hide part of it behind the backward, but allows
    one backward a wrapper, where groups of coupled peers, weight perturbation and frozen parameters need others; and
    crafting takes so many passes that there is little to hide.
    """
    modules = [training.learners[name].module for name in group]
    tensors = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
    norms = [part for module in modules for part in module.modules() if isinstance(part, _NormBase) and part.training]
    statistics = [value for part in norms for value in (part.running_mean, part.running_var) if value is not None]
    average(training.places.shards, [*tensors, *statistics], training.share)


def averaged_terms(training: Training, losses: Mapping[str, PeerLoss]) -> dict[str, PeerLoss]:
    """The losses with their terms over the whole batch; they are records now, without a graph."""
    if training.places.shards.size == 1:
        return dict(losses)
    terms = {
        (name, term): torch.as_tensor(value, dtype=torch.float64, device=training.device).clone()
        for name, loss in losses.items()
        for term, value in loss.terms.items()
    }
    average(training.places.shards, list(terms.values()), training.share)
    return {
        name: replace(loss, terms={term: terms[name, term] for term in loss.terms}) for name, loss in losses.items()
    }


def merged_states(training: Training, before: Mapping[str, State]) -> dict[str, State]:
    """The components' states after a step: before it, plus what each process changed, summed or averaged."""
    if training.places.shards.size == 1:
        return training.states
    changes = {
        (name, key): (value - before[name].get(key, 0.0)) * _weight(training, name)
        for name, state in training.states.items()
        for key, value in state.items()
    }
    found = {key: torch.as_tensor(value, dtype=torch.float64, device=training.device) for key, value in changes.items()}
    total(training.places.shards, list(found.values()))
    return {
        name: {key: _added(before[name].get(key, 0.0), found[name, key], value) for key, value in state.items()}
        for name, state in training.states.items()
    }


def _weight(training: Training, name: str) -> float:
    """What a change of a component's state counts: its share where it averages, else 1, or 0 for repeated images."""
    kind, _, peer = name.partition(".")
    experiment = training.experiment
    component = experiment.strategy if kind == "strategy" else experiment.peers[peer].union
    return training.share if getattr(component, "averages_state", False) else float(training.share > 0.0)


def _added(old: Tensor | float, change: Tensor, like: Tensor | float) -> Tensor | float:
    found = torch.as_tensor(old, dtype=torch.float64, device=change.device) + change
    return found.to(like.dtype).reshape(like.shape) if isinstance(like, Tensor) else float(found)


def refuse_drift(training: Training) -> None:
    """RunError where the processes' weights are no longer the same, bit for bit."""
    if training.places.shards.size == 1:
        return
    own = {name: learner for name, learner in training.learners.items() if training.places.owns(name)}
    sums = {name: _checksum(learner.module.parameters()) for name, learner in own.items()}
    for rank, other in enumerate(gather(training.places.shards, sums)):
        for name, value in sums.items():
            if other[name] != value:
                raise RunError(
                    f"peer {name!r}: the weights of rank {rank} differ from another's, "
                    "allowed: the same everywhere; processors or versions that differ are the usual cause"
                )


def _checksum(tensors: Iterator[Tensor]) -> float:
    return sum(float(tensor.detach().double().sum()) for tensor in tensors)
