"""A small world for the engine: real digits, a tiny network, quick attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

import matx
from matx import Evaluation, Experiment, Peer, ThreatModel
from matx.data import Batch, batches, order
from matx.engine import Training, fit
from matx.exchange import Exchange, Needs, PeerInfo, PeerLoss

Launch = Callable[..., Training]
LINF = ThreatModel(norm="linf", eps=0.1)
L2 = ThreatModel(norm="l2", eps=0.6)


def pgd(threat: ThreatModel, **options: Any) -> Any:
    return matx.attacks["pgd"](threat=threat, **{"steps": 2, **options})


def peer(*threats: ThreatModel, **options: Any) -> Peer:
    defaults = {
        "architecture": matx.architectures["tiny"](width=4),
        "attacks": [pgd(threat) for threat in threats],
        "union": matx.unions["average"]() if len(threats) > 1 else None,
        "optimizer": matx.optimizers["sgd"](lr=0.05),
        "schedule": matx.schedules["constant"](),
    }
    return Peer(**{**defaults, **options})


def experiment(strategy: Any, peers: dict[str, Peer], **options: Any) -> Experiment:
    defaults: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 32,
        "train_limit": 80,
        "evaluation": Evaluation(validation_attacks=[pgd(LINF)], validation_images=32),
    }
    return Experiment(dataset=matx.datasets["digits"](), peers=peers, strategy=strategy, **{**defaults, **options})


def weights(training: Training, name: str) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in training.learners[name].module.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first)


def run(training: Training, records: int | None = None) -> list[Any]:
    """The first so many records of the rest of a training (all of them by default)."""
    return list(islice(fit(training), records))


def first_batch(training: Training) -> Batch:
    rows = order(len(training.data.train.labels), seed=training.experiment.seed, epoch=0)
    return next(batches(training.data.train, rows, training.experiment.batch_size))


def independent(**options: Any) -> Any:
    return matx.strategies["independent"](**options)


def mat(**options: Any) -> Any:
    return matx.strategies["mat"](**options)


class Probe:
    """A strategy built from two functions, to ask the engine for anything."""

    neutral = None
    symmetric = False

    def __init__(self, needs: Needs, loss: Callable[[Exchange, str], Tensor]) -> None:
        self.declared, self.compose = needs, loss

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return self.declared

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        return PeerLoss(total=self.compose(exchange, peer))
