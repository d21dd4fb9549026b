"""How a training starts: its peers, its shards and its crafting copies, before the first step."""

from __future__ import annotations

import torch

from matx.data import Data
from matx.distributed import SINGLE, World
from matx.engine.copying import crafting_copies
from matx.engine.normalising import refuse_small_parts, synchronise
from matx.engine.places import places_of
from matx.engine.teacher_passes import teacher_passes
from matx.engine.training import Training
from matx.exchange import Needs
from matx.experiment import Experiment, check_classes, check_needs, peer_infos, splits_of
from matx.interfaces import Stateful
from matx.learner import Learner, build_learner, resolved_precision

__all__ = ["start"]


def start(
    experiment: Experiment,
    data: Data,
    *,
    device: torch.device | str = "cpu",
    fresh: bool = True,
    world: World = SINGLE,
) -> Training:
    """An experiment's training before its first step. The test split of `data` is not opened.

    Not fresh: `load_state_dict` is to follow, so that nothing is read of which the state knows all.
    """
    check_classes(experiment, data.num_classes)
    needs = experiment.strategy.needs(peer_infos(experiment))
    check_needs(needs, experiment)
    places = places_of(experiment, world)
    precision = resolved_precision(experiment.precision, device)
    learners = {
        name: build_learner(name, peer, data, seed=experiment.seed, device=device, precision=precision, fresh=fresh)
        for name, peer in experiment.peers.items()
    }
    _share_starts(learners, needs)
    refuse_small_parts(experiment, learners)
    if experiment.sync_batch_norm:
        synchronise(learners, torch.device(device))
    unions = {f"union.{name}": peer.union for name, peer in experiment.peers.items()}
    components: dict[str, object] = {**unions, "strategy": experiment.strategy}
    states = {name: component.start() for name, component in components.items() if isinstance(component, Stateful)}
    training = Training(
        experiment, splits_of(experiment, data), needs, torch.device(device), precision, learners, states
    )
    training.places = places
    training.copies = crafting_copies(
        experiment, needs, training.data.train, learners, precision=precision, device=training.device
    )
    if fresh or not any(peer.frozen for peer in experiment.peers.values()):
        training.teacher_passes = teacher_passes(experiment)
    return training


def _share_starts(learners: dict[str, Learner], needs: Needs) -> None:
    """A mixed peer and its members start from the weights of the first member, unless they were given some."""
    for mixed, mix in needs.mix.items():
        first, *others = mix.members
        for name in dict.fromkeys((mixed, *others)):
            learner = learners[name]
            if name == first or learner.peer.weights is not None:
                continue
            for module in (learner.module, learner.ema_module):
                if module is not None:
                    module.load_state_dict(learners[first].module.state_dict())
