"""Phase 1, craft: every source that a declared forward reads, each after the sources that its attacks read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor

from matx.craft import attackable, craft, forked
from matx.data import Batch
from matx.engine.parts import batch_part, parted, parts_of, table_part
from matx.engine.placing import exchanged_examples
from matx.engine.training import Training
from matx.exchange import CLEAN, Crafted
from matx.experiment import crafting_order
from matx.interfaces import AttackInput, Model, Objective, ObjectiveStrategy, copied, refuse_writes, sources_of
from matx.randomness import SampleGenerator, hashed

__all__ = ["craft_all"]


def craft_all(training: Training, batch: Batch) -> dict[str, Crafted]:
    """{source: its examples} of every source that a declared forward reads."""
    needs, peers = training.needs, training.experiment.peers
    read = {source for sources in needs.train.values() for source in sources}
    read |= {source for _, source in needs.teach | needs.ema} | needs.winners
    wanted = [name for name in peers if name in read]
    for name, copy in training.copies.items():
        if training.places.owns(name) and not peers[name].frozen:
            copy.refresh()
    crafted = {CLEAN: Crafted(views=batch.images[None])}
    parts = parts_of(len(batch.labels), training.experiment.micro_batch)
    waiting: list[str] = []
    for name in crafting_order(peers, wanted):
        if {source for attack in peers[name].attacks for source in sources_of(attack)} & {*waiting}:
            crafted, waiting = exchanged_examples(training, waiting, crafted, batch), []
        waiting.append(name)
        if not training.places.owns(name):
            continue
        views = {source: made.views for source, made in crafted.items()}
        made = [
            _craft_one(training, name, batch_part(batch, rows), table_part(views, rows), part)
            for part, rows in enumerate(parts)
        ]
        crafted[name] = made[0] if len(made) == 1 else _joined(made)
    return exchanged_examples(training, waiting, crafted, batch)


def _joined(parts: Sequence[Crafted]) -> Crafted:
    """The examples of the whole batch; a union's state has moved on with each part."""
    winners = [part.winners for part in parts if part.winners is not None]
    return Crafted(
        views=torch.cat([part.views for part in parts], 1),
        winners=torch.cat(winners, 1) if winners else None,
        state=parts[-1].state,
    )


def _craft_one(training: Training, name: str, batch: Batch, others: Mapping[str, Tensor], part: int) -> Crafted:
    experiment, epoch = training.experiment, training.position.epoch
    peer = experiment.peers[name]
    with ExitStack() as stack:
        seed = training.draws("craft", epoch, training.steps, name, *parted(part))
        stack.enter_context(forked(seed, training.device))
        models = {
            other: stack.enter_context(_attackable(training, other))
            for other in (name, *training.needs.craft.get(name, ()))
        }
        given = AttackInput(
            model=models[name],
            images=batch.images,
            labels=batch.labels,
            generator=SampleGenerator(hashed(experiment.seed, "craft", epoch, name), batch.indices),
            sources={source: others[source] for attack in peer.attacks for source in sources_of(attack)},
            epoch=epoch,
            step=training.steps,
            progress=training.progress,
        )
        made = craft(
            given,
            peer.attacks,
            peer.union,
            state=training.states.get(f"union.{name}"),
            objective=_objective(training, name, models),
        )
    if peer.union is not None:
        training.states[f"union.{name}"] = made.state
    return made


def _attackable(training: Training, name: str) -> AbstractContextManager[Model]:
    learner = training.learners[name]
    mode = "eval" if learner.peer.frozen else learner.peer.attack_mode
    copy: Model | None = training.copies.get(name)
    if copy is None and learner.dtype != torch.float32:
        copy = learner.forward
    return attackable(learner.module, mode=mode, passes=training.passes, copy=copy)


def _objective(training: Training, name: str, models: Mapping[str, Model]) -> Callable[[AttackInput], Objective] | None:
    """The objective that the strategy supplies for this peer's attacks; None: the attacks' own loss."""
    strategy = training.experiment.strategy
    if name not in training.needs.craft or not isinstance(strategy, ObjectiveStrategy):
        return None

    def make(given: AttackInput) -> Objective:
        seen = copied(given)
        found = strategy.objective(name, seen, models)
        refuse_writes(strategy, seen, given)
        return found

    return make
