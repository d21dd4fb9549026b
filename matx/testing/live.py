"""A tiny experiment around a strategy, run for two steps by the engine itself."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from matx.craft import forked
from matx.data import Data, MemorySplit, batches, order
from matx.engine import start, step
from matx.engine.averaging import average_weights
from matx.exchange import Crafted, PeerInfo, State
from matx.experiment import Evaluation, Experiment, Peer, data_of
from matx.interfaces import Attack, AttackInput, Strategy, run_attack
from matx.testing.trial import device
from matx.testing.unions import Ascent

__all__ = ["EngineRun", "experiment_of", "trains"]

_SHAPE = (1, 4, 4)
_CLASSES = 5


@dataclass(frozen=True, kw_only=True)
class Net:
    """Two layers with BatchNorm between them."""

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        size = image_shape[0] * image_shape[1] * image_shape[2]
        return nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, num_classes))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Net]:
        """One."""
        return [cls()]


@dataclass(frozen=True, kw_only=True)
class Grey:
    """Random grey images, the brighter the later their class."""

    def __call__(self) -> Data:
        generator = torch.Generator().manual_seed(40)
        labels = torch.arange(40) % _CLASSES
        images = (0.5 * torch.rand(40, *_SHAPE, generator=generator) + labels.reshape(-1, 1, 1, 1) / 10.0).clamp(0, 1)
        split = MemorySplit.of(images, labels)
        return Data(
            name="grey",
            train=split,
            open_test=lambda: split,
            image_shape=_SHAPE,
            num_classes=_CLASSES,
            class_names=tuple("abcde"),
            mean=(0.45,),
            std=(0.2,),
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Grey]:
        """One."""
        return [cls()]


@dataclass(frozen=True, kw_only=True)
class Together:
    """So many views of several attacks: all side by side, or the first attacks' only."""

    says_winners: ClassVar[bool] = True
    count: int

    def start(self) -> State:
        """Nothing: it has no memory."""
        return {}

    def views(self, count: int) -> int:
        """`count`."""
        return self.count

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: State) -> Crafted:
        views = torch.stack([run_attack(attack, given) for attack in attacks[: self.count]])
        winners = torch.eye(len(attacks))[: self.count, None].expand(-1, views.shape[1], -1)
        return Crafted(views=views, winners=winners, state=state)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Together]:
        """One view."""
        return [cls(count=1)]


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Gradient descent with momentum."""

    clip: float | None = None

    def __call__(self, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters.values(), lr=0.05, momentum=0.9)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Descent]:
        """One."""
        return [cls()]


@dataclass(frozen=True, kw_only=True)
class EngineRun:
    """What two steps did: whether each peer's parameters moved, and a hash of each peer's weights afterwards."""

    moved: Mapping[str, bool]
    weights: Mapping[str, str]


def trains(strategy: Strategy, peers: Sequence[PeerInfo], **options: Any) -> EngineRun:
    """Two steps of the engine on these peers and what follows an epoch; `options` go to the Experiment."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = experiment_of(strategy, peers, Path(folder), **options)
        data = data_of(experiment)
        training = start(experiment, data, device=device())
    before = {name: _parameters(learner.module) for name, learner in training.learners.items()}
    rows = order(len(training.data.train.labels), seed=0, epoch=0)[: 2 * experiment.batch_size]
    for batch in batches(training.data.train, rows, experiment.batch_size, device=training.device):
        step(training, batch)
    average_weights(training, 1)
    after = {name: _parameters(learner.module) for name, learner in training.learners.items()}
    weights = {name: _hash(learner.module) for name, learner in training.learners.items()}
    return EngineRun(moved={name: before[name] != after[name] for name in before}, weights=weights)


def experiment_of(strategy: Strategy, peers: Sequence[PeerInfo], folder: Path, **options: Any) -> Experiment:
    """An experiment with a small peer for each of these; frozen ones read their weights from `folder`."""
    declared = {info.name: _peer(info, folder) for info in peers}
    settings: dict[str, Any] = {"batch_size": 8, "epochs": 2, "evaluation": Evaluation(), **options}
    return Experiment(dataset=Grey(), peers=declared, strategy=strategy, **settings)


def _peer(info: PeerInfo, folder: Path) -> Peer:
    attacks = [Ascent(threat=threat, steps=1) for threat in info.threats]
    weights = None
    if info.frozen:
        weights = folder / f"{info.name}.pt"
        with forked(41):
            torch.save(Net()(_SHAPE, _CLASSES).state_dict(), weights)
    return Peer(
        architecture=Net(),
        attacks=attacks,
        union=Together(count=info.views) if len(attacks) > 1 else None,
        optimizer=Descent(),
        ema=0.9 if info.ema else None,
        frozen=info.frozen,
        weights=None if weights is None else str(weights),
    )


def _parameters(module: nn.Module) -> list[bytes]:
    return [parameter.detach().cpu().numpy().tobytes() for parameter in module.parameters()]


def _hash(module: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for value in module.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()
