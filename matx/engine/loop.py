"""The loop: craft, exchange, compose, step. It yields records; the caller logs, saves, prunes and stops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from matx.craft import tf32
from matx.data import Batch, batches, order
from matx.distributed import merged
from matx.engine.averaging import average_weights
from matx.engine.compose import descend, groups
from matx.engine.crafting import craft_all
from matx.engine.finite import refuse_gradients, refuse_weights, tensors_of, unless_not_finite
from matx.engine.parts import parts_of, table_part
from matx.engine.placing import of_all_peers, owned
from matx.engine.sharding import averaged_terms, merged_states, refuse_drift, shards
from matx.engine.teachers import TeacherLogits
from matx.engine.training import Position, Training
from matx.engine.validation import collapse_alarms, validate
from matx.exchange import Crafted, PeerLoss
from matx.interfaces import Augmentation, copied, default_type_kept, refuse_writes
from matx.measure import Rate
from matx.randomness import SampleGenerator, hashed

__all__ = ["EpochRecord", "StepRecord", "fit", "step"]


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step: each trained peer's loss and its terms, and the learning rates used."""

    epoch: int
    step: int
    """Steps since the start of training, this one included."""
    losses: Mapping[str, Mapping[str, float]]
    lr: Mapping[str, float]
    images: int


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch: the mean of each term over its images, and the validation where it was due."""

    epoch: int
    """Epochs done, this one included."""
    steps: int
    train: Mapping[str, Mapping[str, float]]
    lr: Mapping[str, float]
    validation: Mapping[str, Mapping[str, Rate]] | None
    """{peer: {clean, threat keys, union: rate}}."""
    score: float | None
    """The mean of the scored peers' union accuracy on validation images."""
    best: bool
    """True: the highest score so far; the caller saves it."""
    best_by: str
    """The weights that were validated: `raw`, or `ema`, their averages."""
    passes: Mapping[str, float]
    """Passes per training image since the start: forward, backward_input, backward_weights."""
    alarms: tuple[str, ...] = ()


def fit(training: Training) -> Iterator[StepRecord | EpochRecord]:
    """Train from the position of `training` to the end. After each record a caller may save the state, or stop."""
    experiment, size = training.experiment, training.experiment.batch_size
    while not training.over:
        epoch = training.position.epoch
        rows = order(len(training.data.train.labels), seed=experiment.seed, epoch=epoch)
        done = training.position.step
        rows = rows[done * size : training.steps_per_epoch * size]
        for shard in shards(training.places.shards, rows, size):
            (batch,) = batches(training.data.train, shard.rows, len(shard.rows), device=training.device)
            yield step(training, batch, share=shard.share, images=shard.images)
        yield _end_epoch(training)


def step(training: Training, batch: Batch, *, share: float = 1.0, images: int | None = None) -> StepRecord:
    """One step of all peers on one batch, of which each process takes its share of so many images: the four phases."""
    training.share, before = share, dict(training.states)
    experiment, epoch = training.experiment, training.position.epoch
    generator = SampleGenerator(hashed(experiment.seed, "augment", epoch), batch.indices)
    with training.phase("data"):
        batch = replace(batch, images=_augmented(batch.images, experiment.augmentations, generator))
    with training.phase("crafting"), tf32(allowed=False):
        crafted = craft_all(training, batch)
    with tf32(allowed=True):
        losses, rates = _update(training, batch, crafted)
    refuse_gradients(training, batch)
    losses, rates = of_all_peers(training, averaged_terms(training, losses), rates)
    for loss in losses.values():
        if loss.state is not None:
            training.states["strategy"] = {**training.states["strategy"], **loss.state}
    training.states = merged_states(training, before)
    return _record(training, losses, rates, images or len(batch.labels))


def _update(
    training: Training, batch: Batch, crafted: Mapping[str, Crafted]
) -> tuple[dict[str, PeerLoss], dict[str, float]]:
    """Losses, gradients and steps of all peers; where a gradient is not finite, no peer that follows changes."""
    views = {source: made.views for source, made in crafted.items()}
    parts = parts_of(len(batch.labels), training.experiment.micro_batch)
    teachers = [TeacherLogits(training, table_part(views, rows), part) for part, rows in enumerate(parts)]
    alternating = training.experiment.update_order == "alternating"
    losses: dict[str, PeerLoss] = {}
    rates: dict[str, float] = {}
    buffers = [buffer for name in owned(training) for buffer in training.learners[name].module.buffers()]
    training.finite = {}
    with unless_not_finite(training, lambda: buffers):
        for group in groups(training.needs):
            losses |= descend(training, group, batch, crafted, teachers)
            if alternating:
                rates |= {name: _step_learner(training, name) for name in group if training.places.owns(name)}
                for of_part in teachers:
                    of_part.drop(group)
        if not alternating:
            rates = {name: _step_learner(training, name) for name in losses}
    return losses, rates


def _augmented(images: Tensor, augmentations: Sequence[Augmentation], generator: SampleGenerator) -> Tensor:
    """One augmentation after the other. A second one of a class gets draws of its own."""
    for position, augmentation in enumerate(augmentations):
        earlier = sum(type(other) is type(augmentation) for other in augmentations[:position])
        draws = generator.at("again", earlier) if earlier else generator
        seen, seen_draws = copied((images, draws))
        with default_type_kept(augmentation):
            found = augmentation(seen, seen_draws)
        refuse_writes(augmentation, {"images": seen, "generator": seen_draws}, {"images": images, "generator": draws})
        images = found
    return images


def _step_learner(training: Training, name: str) -> float:
    learner = training.learners[name]
    epoch = training.position.epoch + training.position.step / training.steps_per_epoch
    schedule = learner.peer.schedule
    with training.phase("updating"), unless_not_finite(training, lambda: tensors_of(learner)):
        factor = 1.0 if schedule is None else schedule.at(epoch, training.experiment.epochs)
        return learner.step(factor, training.steps)


def _record(training: Training, losses: Mapping[str, PeerLoss], rates: Mapping[str, float], images: int) -> StepRecord:
    """Move the position on, add to the running sums, and say what happened."""
    values = _numbers(losses)
    for name, terms in values.items():
        sums = training.sums.setdefault(name, {})
        for term, value in terms.items():
            sums[term] = sums.get(term, 0.0) + value * images
    training.seen += images
    training.epoch_seen += images
    record = StepRecord(
        epoch=training.position.epoch, step=training.steps + 1, losses=values, lr=dict(rates), images=images
    )
    training.position = replace(training.position, step=training.position.step + 1)
    return record


def _numbers(losses: Mapping[str, PeerLoss]) -> dict[str, dict[str, float]]:
    """{peer: {term: value}}, copied from the device at once."""
    found = torch.stack([value.float() for loss in losses.values() for value in loss.terms.values()]).tolist()
    rest = iter(found)
    return {name: {term: next(rest) for term in loss.terms} for name, loss in losses.items()}


def _end_epoch(training: Training) -> EpochRecord:
    """Validate where it is due, choose the best, move on to the next epoch."""
    experiment = training.experiment
    done = training.position.epoch + 1
    rates = merged(training.places.peers, {name: training.learners[name].rate for name in owned(training)})
    rates = {name: rates[name] for name in training.needs.train}
    means = {
        name: {term: total / training.epoch_seen for term, total in terms.items()}
        for name, terms in training.sums.items()
    }
    steps = training.steps
    refuse_weights(training)
    refuse_drift(training)
    training.share_passes()
    average_weights(training, done)
    due = experiment.evaluation.due(done, experiment.epochs)
    scores, score, alarms = validate(training) if due else (None, None, ())
    best = score is not None and (training.best is None or score > training.best[1])
    if best and score is not None:
        training.best = (done, score)
    if score is not None:
        training.stale = 0 if best else training.stale + 1
        alarms += collapse_alarms(training, score)
    training.position, training.sums, training.epoch_seen = Position(done, 0), {}, 0
    return EpochRecord(
        epoch=done,
        steps=steps,
        train=means,
        lr=rates,
        validation=scores,
        score=score,
        best=best,
        best_by=experiment.evaluation.best_by,
        passes=training.passes_per_image(),
        alarms=alarms,
    )
