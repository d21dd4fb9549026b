"""Components that break a promise of their kind, each in one way, and what keeps it in their place."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

import matx
from matx.data import Data, MemorySplit
from matx.exchange import Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, Column, Figure
from matx.threat import ThreatModel


@matx.attacks.register("breaking")
@dataclass(frozen=True, kw_only=True)
class BreakingAttack:
    """One step to the upper edge of the ball; `how` is what else it does."""

    kind: ClassVar[Literal["maximise"]] = "maximise"

    threat: ThreatModel
    how: str = "nothing"

    def __call__(self, given: AttackInput) -> Tensor:
        images = given.images
        edge = (images + self.threat.radius).clamp(0, 1)
        found: Any = getattr(self, f"_{self.how}")(given, edge)
        return edge if found is None else found

    def _nothing(self, given: AttackInput, edge: Tensor) -> None:
        """Keep every promise."""

    def _images(self, given: AttackInput, edge: Tensor) -> None:
        given.images.mul_(0.5)

    def _data(self, given: AttackInput, edge: Tensor) -> None:
        given.images.data.mul_(0.5)

    def _numpy(self, given: AttackInput, edge: Tensor) -> None:
        given.images.numpy()[:] = 0.5

    def _labels(self, given: AttackInput, edge: Tensor) -> None:
        given.labels.data.zero_()

    def _outside(self, given: AttackInput, edge: Tensor) -> Tensor:
        return given.images + 3 * self.threat.radius

    def _nan(self, given: AttackInput, edge: Tensor) -> Tensor:
        return edge * torch.nan

    def _shape(self, given: AttackInput, edge: Tensor) -> Tensor:
        return edge[:, :, 1:]

    def _type(self, given: AttackInput, edge: Tensor) -> Any:
        return edge.numpy()

    def _double(self, given: AttackInput, edge: Tensor) -> Tensor:
        return edge.double()

    def _graph(self, given: AttackInput, edge: Tensor) -> Tensor:
        return edge * torch.ones(1, requires_grad=True)

    def _raises(self, given: AttackInput, edge: Tensor) -> None:
        raise KeyError("raised on purpose")

    def _exits(self, given: AttackInput, edge: Tensor) -> None:
        sys.exit(0)

    def _draws(self, given: AttackInput, edge: Tensor) -> None:
        torch.rand(7), np.random.rand(7), random.random()

    def _seeds(self, given: AttackInput, edge: Tensor) -> None:
        torch.manual_seed(1), np.random.seed(1), random.seed(1)

    def _mode(self, given: AttackInput, edge: Tensor) -> None:
        model: Any = given.model
        model.train()
        model(given.images)

    def _gradients(self, given: AttackInput, edge: Tensor) -> None:
        model: Any = given.model
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        torch.autograd.backward([model(given.images).sum()])

    def _weights(self, given: AttackInput, edge: Tensor) -> None:
        model: Any = given.model
        for parameter in model.parameters():
            parameter.data.mul_(0.9)

    def _default(self, given: AttackInput, edge: Tensor) -> None:
        torch.set_default_dtype(torch.float64)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(threat=ThreatModel(norm="linf", eps=0.1))]


@matx.strategies.register("breaking")
@dataclass(frozen=True, kw_only=True)
class BreakingStrategy:
    """Every peer learns from its own examples; `how` is what its loss is in the fifth step."""

    how: str = "nothing"
    neutral: ClassVar[None] = None
    symmetric: ClassVar[bool] = True

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return Needs(train={info.name: (info.own_source,) for info in peers})

    def loss(self, exchange: Exchange, name: str) -> PeerLoss:
        logits = exchange.logits(name, exchange.info(name).own_source)
        total = matx.losses.cross_entropy(logits, exchange.labels).mean()
        if exchange.step < 4:
            return PeerLoss(total=total)
        others: dict[str, Tensor] = {
            "nan": total * torch.nan,
            "inf": total * torch.inf,
            "gradient": total + (logits - logits).sum().sqrt(),
            "vector": matx.losses.cross_entropy(logits, exchange.labels),
            "detached": total.detach(),
        }
        if self.how == "labels":
            exchange.labels.zero_()
        if self.how == "default":
            torch.set_default_dtype(torch.float64)
        if self.how == "raises":
            raise KeyError("raised on purpose")
        return PeerLoss(total=others.get(self.how, total))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]


@matx.datasets.register("breaking")
@dataclass(frozen=True, kw_only=True)
class BreakingDataset:
    """The digits; `how` is what is wrong with them."""

    how: str = "nothing"

    def __call__(self) -> Data:
        data: Data = matx.datasets["digits"]()()
        images = data.train.read(torch.arange(len(data.train.labels))).float() / 255
        labels = data.train.labels.clone()
        if self.how == "nan":
            images[::7] = torch.nan
        if self.how == "bright":
            images[::7] = 255.0
        if self.how == "negative":
            labels[::7] = -1
        if self.how == "many":
            labels[::7] = 2_000_000_000
        if self.how == "classes":
            return replace(data, num_classes=3, class_names=("a", "b", "c"))
        if self.how == "raises":
            raise KeyError("raised on purpose")
        return replace(data, train=MemorySplit.of(images, labels))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]


@matx.metrics.register("breaking")
@dataclass(frozen=True, kw_only=True)
class BreakingMetric:
    """The share of right answers; `how` is what is wrong with its columns."""

    table: ClassVar[str] = "Broken"
    how: str = "nothing"

    def measure(self, models: Mapping[str, nn.Module], batch: Any, settings: Any) -> dict[Column, Tensor]:
        found = {name: model(batch.images).argmax(1) == batch.labels for name, model in models.items()}
        if self.how == "raises":
            raise KeyError("raised on purpose")
        if self.how == "short":
            found = {name: values[1:] for name, values in found.items()}
        if self.how == "nan":
            found = {name: values * torch.nan for name, values in found.items()}
        if self.how == "images":
            batch.images.zero_()
        if self.how == "labels":
            batch.labels.zero_()
        if self.how == "default":
            torch.set_default_dtype(torch.float64)
        return {Column(name, "right"): values for name, values in found.items()}

    def summarise(self, columns: Mapping[Column, Tensor]) -> list[Figure]:
        return [
            Figure(column=column, n=len(values), value=float(values.float().mean()))
            for column, values in columns.items()
        ]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]
