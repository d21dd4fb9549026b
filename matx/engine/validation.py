"""Validation: the same images under the same draws in every epoch, and the alarms for what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch

from matx.data import Subset
from matx.distributed import gather, merged
from matx.engine.training import Training
from matx.experiment import teacher_mode, trained_teachers
from matx.interfaces import sources_of
from matx.measure import EvaluationSettings, Rate, flags_of

__all__ = ["collapse_alarms", "validate"]

_COLLAPSED = 2
"""Validations in a row that make a collapse: a single low one also follows a step of the learning rate."""


def validate(training: Training) -> tuple[Mapping[str, Mapping[str, Rate]], float, tuple[str, ...]]:
    """({trained peer: {clean, threat keys, union: rate on the validation images}}, the run's score, alarms).

    The weights are those that `Evaluation.select` names; a peer that is not scored and keeps no average is raw.
    """
    experiment = training.experiment
    split = training.data.val
    assert split is not None, "carve gives every run a validation split"
    some = Subset(split, torch.arange(min(len(split.labels), experiment.evaluation.validation_images)))
    average = experiment.evaluation.select == "average"
    modules = {
        name: learner.ema_module if average and learner.ema_module is not None else learner.module
        for name, learner in training.learners.items()
        if not learner.peer.frozen and training.places.owns(name)
    }
    settings = EvaluationSettings(
        attacks=experiment.evaluation.validation_attacks,
        seed=experiment.seed,
        purpose="validation",
        batch_size=experiment.evaluation.batch_size,
    )
    flags = flags_of(modules, some, settings, device=training.device, world=training.places.shards)
    rates = {name: found.rates() for name, found in flags.items()}
    own_alarms: list[str] = []
    for name, module in modules.items():
        own_attacks = [attack for attack in experiment.peers[name].attacks if not sources_of(attack)]
        trained_on = replace(settings, attacks=own_attacks)
        own = flags_of({name: module}, some, trained_on, device=training.device, world=training.places.shards)[
            name
        ].rates()
        own_alarms += list(_alarms(name, own, rates[name]))
    rates = merged(training.places.peers, rates)
    rates = {name: rates[name] for name in experiment.peers if name in rates}
    alarms = [alarm for some in gather(training.places.peers, own_alarms) for alarm in some]
    score = sum(rates[name]["union"].accuracy for name in experiment.scored) / len(experiment.scored)
    return rates, score, tuple(alarms)


def _alarms(name: str, own: Mapping[str, Rate], strong: Mapping[str, Rate]) -> Iterator[str]:
    """A gap of over 10 points between the training attack and a stronger one: catastrophic overfitting."""
    for key, rate in own.items():
        if key not in ("clean", "union") and key in strong and rate.accuracy - strong[key].accuracy > 0.10:
            yield (
                f"peer {name!r}: {rate.accuracy:.1%} under its training attack but "
                f"{strong[key].accuracy:.1%} under the validation attack ({key}): catastrophic overfitting?"
            )


def collapse_alarms(training: Training, score: float) -> tuple[str, ...]:
    """An alarm where the score is for the second time in a row under half of the best and over 10 points below it.

    10 points are beyond the sampling error of 100 validation images or more, and half is beyond every schedule's
    fluctuation where the best is high; a score that only stagnates is none.
    """
    epoch, best = training.best or (0, 0.0)
    training.collapsed = training.collapsed + 1 if score < min(best / 2.0, best - 0.10) else 0
    if training.collapsed < _COLLAPSED:
        return ()
    experiment = training.experiment
    helps = "a lower learning rate or the optimizer's option clip"
    if any(teacher_mode(experiment, name) == "eval" for name in trained_teachers(experiment)):
        helps = f"teacher_mode 'train', {helps}"
    return (
        f"validation score {score:.1%} after {best:.1%} in epoch {epoch}, for {training.collapsed} validations in a "
        f"row under half of it: the training has collapsed; {helps} usually helps",
    )
