"""The experiments that are measured: noise in the shape of CIFAR, usual networks, PGD, mutual training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import matx
from matx import Evaluation, Experiment, Peer
from matx.data import Batch, Data, MemorySplit, batches, order
from matx.engine import Position, Training, start, step
from matx.threat import ThreatModel
from registry.architectures._networks import preact_resnet

CIFAR = {key.partition(":")[0]: ThreatModel.parse(key) for key in ("linf:8/255", "l2:0.5", "l1:12")}
DIGITS = {key.partition(":")[0]: ThreatModel.parse(key) for key in ("linf:0.1", "l2:0.6", "l1:2")}
NETWORKS = ("small_resnet", "tiny", "preact_resnet18, width 32, a block a stage", "preact_resnet18")


def made(kind: str, name: str, **options: Any) -> Any:
    """A component by its name."""
    return getattr(matx, kind)[name](**options)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """uint8 noise of CIFAR's shape: what a step costs does not depend on what the images show."""

    images: int = 640

    def __call__(self) -> Data:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (self.images, 3, 32, 32), dtype=torch.uint8, generator=generator)
        split = MemorySplit.of(pixels, torch.arange(self.images) % 10)
        return Data(
            name="noise",
            train=split,
            open_test=lambda: split,
            image_shape=(3, 32, 32),
            num_classes=10,
            class_names=tuple("0123456789"),
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
        )


@dataclass(frozen=True, kw_only=True)
class Network:
    """One of NETWORKS, as an architecture."""

    name: str

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        if self.name in matx.architectures:
            known: nn.Module = made("architectures", self.name)(image_shape, num_classes)
            return known
        network = preact_resnet(num_classes=num_classes, in_chans=image_shape[0], width=32)
        body: Any = network.get_submodule("body")
        del body[2], body[3], body[4], body[5]  # the second block of each stage; places move up with each
        return network


def pgd(threat: ThreatModel, **options: Any) -> Any:
    return made("attacks", "pgd", threat=threat, **{"steps": 10, "keep": "last", **options})


def training(
    network: str,
    *,
    precision: Any = "fp32",
    peers: int = 2,
    attacks: Sequence[Any] = (pgd(CIFAR["linf"], step_size="2/255"),),
    dataset: Any = None,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Training:
    """Peers that teach each other as `mat` says by default; one alone trains for itself."""
    architecture: Any = Network(name=network)
    peer = Peer(
        architecture=architecture,
        attacks=attacks,
        union=options.pop("union", None),
        optimizer=made("optimizers", "sgd", lr=0.01),
    )
    source: Any = dataset or Noise()
    experiment = Experiment(
        dataset=source,
        peers={f"peer{number}": peer for number in range(peers)},
        strategy=made("strategies", "mat" if peers > 1 else "independent"),
        evaluation=Evaluation(validation_attacks=attacks[:1]),
        precision=precision,
        **options,
    )
    return start(experiment, experiment.dataset(), device=device)


def first_batch(live: Training) -> Batch:
    rows = order(len(live.data.train.labels), seed=0, epoch=0)
    return next(batches(live.data.train, rows, live.experiment.batch_size, device=live.device))


def one_step(live: Training, batch: Batch) -> None:
    """A step of the engine, always the first."""
    live.position = Position()
    step(live, batch)
