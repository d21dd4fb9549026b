"""Which of several processes does what: each batch is shared by all, or each process owns some of the peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from matx.distributed import SINGLE, World, divided, merged
from matx.errors import OptionError
from matx.exchange import State
from matx.experiment import Experiment
from matx.learner import Learner

__all__ = ["Places", "check_processes", "collected_learners", "collected_states", "places_of"]


@dataclass(frozen=True, kw_only=True)
class Places:
    """This process among the others."""

    world: World = SINGLE
    """All processes."""
    shards: World = SINGLE
    """Those that own the same peers, and share each batch."""
    peers: World = SINGLE
    """Those that own the other peers, and take the same images."""
    owners: Mapping[str, int] = field(default_factory=dict)
    """{peer: its owner's rank in `peers`}; empty where every process owns every peer."""

    def owns(self, peer: str) -> bool:
        """Whether this process trains the peer (asks it, if it is frozen)."""
        return self.owners.get(peer, self.peers.rank) == self.peers.rank


def check_processes(experiment: Experiment, processes: int) -> None:
    """OptionError where so many processes cannot be divided as the experiment says; one process does everything."""
    by_peers, parts = experiment.placement == "peers", experiment.shards if processes > 1 else 1
    if processes % parts:
        raise OptionError(
            f"Experiment.shards: got {parts} for {processes} processes, allowed: a number that divides them"
        )
    shards = parts if by_peers else processes
    if shards > 1 and experiment.batch_size < 2 * shards:
        raise OptionError(
            f"Experiment.batch_size: got {experiment.batch_size} for {shards} processes that share it, allowed: "
            f"{2 * shards} or more, two images for each (batch statistics need two)"
        )
    owning, peers = processes // parts, len(experiment.peers)
    if by_peers and owning > peers:
        raise OptionError(
            f"Experiment.placement: got 'peers' for {owning} processes and {peers} peers, allowed: at most one "
            "process a peer; Experiment.shards says how many share each batch"
        )


def places_of(experiment: Experiment, world: World) -> Places:
    """The places of an experiment's peers; OptionError where processes cannot be divided so."""
    check_processes(experiment, world.size)
    if experiment.placement != "peers" or world.size == 1:
        return Places(world=world, shards=world)
    names = sorted(experiment.peers, key=lambda name: experiment.peers[name].frozen)
    columns, rows = divided(world, experiment.shards)
    owners = {name: place % rows.size for place, name in enumerate(names)}
    return Places(world=world, shards=columns, peers=rows, owners=owners)


def collected_learners(places: Places, learners: Mapping[str, Learner]) -> dict[str, Any]:
    """The states of all learners; those of other processes take their owners' weights here too."""
    own = {name: learner.state_dict() for name, learner in learners.items() if places.owns(name)}
    if places.peers.size == 1:
        return own
    every = merged(places.peers, _on_cpu(own))
    for name, learner in learners.items():
        if not places.owns(name):
            learner.module.load_state_dict(every[name]["module"])
            if learner.ema_module is not None:
                learner.ema_module.load_state_dict(every[name]["ema"])
    return {name: every[name] for name in learners}


def collected_states(places: Places, states: Mapping[str, State]) -> dict[str, dict[str, Tensor | float]]:
    """The states of all components, of each union from its peer's owner."""
    own = {name: dict(state) for name, state in states.items() if places.owns(name.partition(".")[2])}
    if places.peers.size == 1:
        return own
    every = merged(places.peers, _on_cpu(own))
    return {name: every[name] for name in states}


def _on_cpu(value: Any) -> Any:
    """The same plain values, with every tensor on the CPU."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, Mapping):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list) else value
