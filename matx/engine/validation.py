"""Validation: the same images under the same draws in every epoch, and the alarm for catastrophic overfitting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch

from matx.data import Subset
from matx.engine.training import Training
from matx.interfaces import sources_of
from matx.measure import PeerScores, evaluate
from matx.randomness import seed_for

__all__ = ["validate"]


def validate(training: Training) -> tuple[Mapping[str, PeerScores], float, tuple[str, ...]]:
    """(scores of every trained peer on the validation images, the run's score, alarms)."""
    experiment = training.experiment
    split = training.data.val
    assert split is not None, "carve gives every run a validation split"
    some = Subset(split, torch.arange(min(len(split.labels), experiment.evaluation.validation_images)))
    modules = {name: learner.module for name, learner in training.learners.items() if not learner.peer.frozen}
    run = partial(
        evaluate,
        split=some,
        seed=seed_for(experiment.seed, "validation"),
        batch_size=experiment.evaluation.batch_size,
        device=training.device,
    )
    scores = run(modules, attacks=experiment.evaluation.validation_attacks)
    alarms = []
    for name, module in modules.items():
        own_attacks = [attack for attack in experiment.peers[name].attacks if not sources_of(attack)]
        own = run({name: module}, attacks=own_attacks)[name]
        alarms += list(_alarms(name, own, scores[name]))
    score = sum(scores[name].union.accuracy for name in experiment.scored) / len(experiment.scored)
    return scores, score, tuple(alarms)


def _alarms(name: str, own: PeerScores, strong: PeerScores) -> Iterator[str]:
    """A gap of over 10 points between the training attack and a stronger one: catastrophic overfitting."""
    for key, rate in own.threats.items():
        if key in strong.threats and rate.accuracy - strong.threats[key].accuracy > 0.10:
            yield (
                f"peer {name!r}: {rate.accuracy:.1%} under its training attack but "
                f"{strong.threats[key].accuracy:.1%} under the validation attack ({key}): catastrophic overfitting?"
            )
