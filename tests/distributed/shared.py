"""What the processes of the equality tests run: trainings whose steps are watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

import matx
from matx.data import Data, MemorySplit
from matx.distributed import SINGLE, World, collectives
from matx.engine import StepRecord, Training, fit, start
from matx.experiment import Evaluation, Experiment, Peer
from matx.interfaces import AttackInput
from matx.threat import ThreatModel

LINF = ThreatModel(norm="linf", eps=0.1)


class _Double(nn.Module):
    """Two layers in float64, without batch statistics."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, 16), nn.ReLU(), nn.Linear(16, classes)).double()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images.double())
        return logits


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A network without batch statistics, in float64 or fp32."""

    double: bool = True

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        network = _Double(image_shape[0] * image_shape[1] * image_shape[2], num_classes)
        return network if self.double else network.layers.float()

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Plain]:
        return [cls()]


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The first so many handwritten digits, for training and validation."""

    count: int = 200

    def __call__(self) -> Data:
        whole = matx.datasets["digits"]()()
        rows = torch.arange(self.count)
        split = MemorySplit(whole.train.read(rows), whole.train.labels[rows], whole.train.indices[rows])
        return Data(
            name="digits", train=split, open_test=lambda: split, image_shape=whole.image_shape,
            num_classes=whole.num_classes, class_names=whole.class_names, mean=whole.mean, std=whole.std,
        )  # fmt: skip

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Digits]:
        return [cls()]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """PGD that counts the collectives during its search."""

    kind: ClassVar[Literal["maximise"]] = "maximise"
    COLLECTIVES: ClassVar[list[int]] = []

    threat: ThreatModel = LINF
    steps: int = 3

    def __call__(self, given: AttackInput) -> Tensor:
        before = Collectives.count
        found: Tensor = matx.attacks["pgd"](threat=self.threat, steps=self.steps)(given)
        Watched.COLLECTIVES.append(Collectives.count - before)
        return found

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Watched]:
        return [cls()]


@dataclass(frozen=True, kw_only=True, eq=False)
class Replayed:
    """Examples that were crafted before, by the sample's index."""

    kind: ClassVar[Literal["maximise"]] = "maximise"

    images: Mapping[int, Tensor] = field(repr=False)
    threat: ThreatModel = LINF

    def __call__(self, given: AttackInput) -> Tensor:
        return torch.stack([self.images[int(index)] for index in given.generator.indices])

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Replayed]:
        return [cls(images={})]


class Collectives:
    """How many collectives this process has called, and bytes of tensors it gave to them, once `watch` has been."""

    count = 0
    sent = 0
    watched = False

    @classmethod
    def watch(cls) -> None:
        cls.count = 0
        Watched.COLLECTIVES.clear()
        if cls.watched:
            return
        cls.watched, real = True, collectives._collective

        def counted(*arguments: Any) -> None:
            cls.count += 1
            cls.sent += sum(value.numel() * value.element_size() for value in arguments if isinstance(value, Tensor))
            real(*arguments)

        collectives._collective = counted


def peer(**options: Any) -> Peer:
    defaults = {
        "architecture": Plain(),
        "attacks": [Watched()],
        "optimizer": matx.optimizers["sgd"](lr=0.05),
    }
    return Peer(**{**defaults, **options})


def experiment(strategy: Any, peers: Mapping[str, Peer], **options: Any) -> Experiment:
    defaults: dict[str, Any] = {
        "batch_size": 30,
        "epochs": 20,
        "evaluation": Evaluation(validation_attacks=[Watched()], validation_images=20, every=20),
    }
    return Experiment(dataset=Digits(), peers=peers, strategy=strategy, **{**defaults, **options})


def launched(declared: Experiment, world: World = SINGLE) -> Training:
    return start(declared, declared.dataset(), world=world)


def steps(training: Training, count: int) -> list[StepRecord]:
    """The first so many steps."""
    records: list[StepRecord] = []
    for record in fit(training):
        if isinstance(record, StepRecord):
            records.append(record)
        if len(records) == count:
            break
    return records


def weights(training: Training) -> dict[str, Tensor]:
    """{peer.parameter or buffer: value}."""
    return {
        f"{name}.{key}": value.clone()
        for name, learner in training.learners.items()
        for key, value in learner.module.state_dict().items()
    }


def gradients_of(training: Training) -> dict[str, Tensor]:
    """{peer.parameter: gradient} of every step from now on, the latest one."""
    found: dict[str, Tensor] = {}
    for name, learner in training.learners.items():
        if learner.optimizer is None:
            continue

        def keep(*_: Any, name: str = name, module: nn.Module = learner.module) -> None:
            found.update({f"{name}.{k}": p.grad.clone() for k, p in module.named_parameters() if p.grad is not None})

        learner.optimizer.register_step_pre_hook(keep)
    return found
