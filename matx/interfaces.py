"""The contracts between the mechanism and the components on the shelves: what each kind is given and must return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from matx import losses
from matx.data import Data
from matx.draws import SampleGenerator
from matx.errors import OptionError, did_you_mean
from matx.exchange import Exchange, Needs, PeerInfo, PeerLoss, State
from matx.threat import ThreatModel

__all__ = [
    "OBJECTIVES",
    "Architecture",
    "Attack",
    "Dataset",
    "FirstOrderAttack",
    "FreeObjective",
    "Goal",
    "LogitObjective",
    "Model",
    "Neutral",
    "Objective",
    "ObjectiveStrategy",
    "PerturbationUnion",
    "Stateful",
    "StatefulUnion",
    "Strategy",
    "check_objective",
    "value_and_gradient",
]

Model = Callable[[Tensor], Tensor]
"""(N, C, H, W) images in [0,1] -> (N, classes) logits."""


class Objective(Protocol):
    """What an attack climbs, one value a sample."""

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N,)."""
        ...

    def select(self, rows: Tensor) -> Objective:
        """The objective of some of the samples."""
        ...


@dataclass(frozen=True, eq=False)
class LogitObjective:
    """loss(model(images), **tensors): an objective of one model's logits; `tensors` hold one row a sample."""

    model: Model
    loss: Callable[..., Tensor]
    tensors: Mapping[str, Tensor]

    def __call__(self, images: Tensor) -> Tensor:
        return self.evaluate(images)[0]

    def evaluate(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """((N,) values, (N, classes) logits) from one forward."""
        logits = self.model(images)
        return self.loss(logits, **self.tensors), logits

    def select(self, rows: Tensor) -> LogitObjective:
        """The objective of some of the samples."""
        return replace(self, tensors={name: tensor[rows] for name, tensor in self.tensors.items()})


@dataclass(frozen=True, eq=False)
class FreeObjective:
    """function(images, **tensors): any objective (a moving target, several models); `tensors` hold one row a sample."""

    function: Callable[..., Tensor]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, images: Tensor) -> Tensor:
        return self.function(images, **self.tensors)

    def select(self, rows: Tensor) -> FreeObjective:
        """The objective of some of the samples."""
        return replace(self, tensors={name: tensor[rows] for name, tensor in self.tensors.items()})


def _kl_to_clean(logits: Tensor, labels: Tensor, clean: Tensor) -> Tensor:
    return losses.kl_divergence(clean, logits)


OBJECTIVES: Mapping[str, Callable[..., Tensor]] = {
    "cross_entropy": losses.cross_entropy,
    "margin": losses.margin,
    "dlr": losses.dlr,
    "kl": _kl_to_clean,
}
"""The objectives on labels that an attack may name: CE, margin, DLR, and KL(p(x) || p(x')) to the clean answer."""


def check_objective(name: str) -> None:
    """Refuse a name that OBJECTIVES does not hold (for an attack's `__post_init__`)."""
    if name not in OBJECTIVES:
        raise OptionError(f"objective: got {name!r}, allowed: {', '.join(OBJECTIVES)}{did_you_mean(name, OBJECTIVES)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Goal:
    """What one attack call is given: parameters are frozen, the mode is set, the model is differentiable in images."""

    model: Model
    images: Tensor
    """(N, C, H, W) fp32 in [0,1], clean."""
    labels: Tensor
    """(N,) int64."""
    generator: SampleGenerator
    objective: Objective | None = None
    """What to climb, where a strategy supplies it; None: the attack's own loss on the labels."""
    sources: Mapping[str, Tensor] = field(default_factory=dict)
    """{peer: (views, N, C, H, W)}: finished examples of the peers that the attack names in its `sources`."""
    epoch: int = 0
    step: int = 0
    progress: float = 0.0

    def climb(self, name: str) -> Objective:
        """The objective that a strategy supplied, else the one on the labels of that name in OBJECTIVES."""
        if self.objective is not None:
            return self.objective
        tensors = {"labels": self.labels}
        if name == "kl":
            with torch.no_grad():
                tensors["clean"] = self.model(self.images)
        return LogitObjective(self.model, OBJECTIVES[name], tensors)

    def select(self, rows: Tensor) -> Goal:
        """The goal for some of the samples (a boolean mask or indices into the batch)."""
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            generator=self.generator.select(rows),
            objective=None if self.objective is None else self.objective.select(rows),
            sources={name: views[:, rows] for name, views in self.sources.items()},
        )


def value_and_gradient(objective: Objective, images: Tensor) -> tuple[Tensor, Tensor]:
    """((N,) detached values, gradient of their sum by the images); zeros where nothing depends on the images."""
    with torch.enable_grad():
        point = images.detach().requires_grad_()
        values = objective(point)
        if not values.requires_grad:
            return values.detach(), torch.zeros_like(images)
        (gradient,) = torch.autograd.grad(values.sum(), point, allow_unused=True)
    return values.detach(), torch.zeros_like(images) if gradient is None else gradient


@runtime_checkable
class Attack(Protocol):
    """A search inside a threat model, configured once and called many times: a frozen, keyword-only dataclass.

    `kind` says how the result is held to the threat model: a `maximise` attack is projected; a `minimum_norm` attack
    searches freely and counts where it lies inside, else the clean image is returned. Neither is trusted. An attack
    that reads other peers' examples names them in an optional field `sources: tuple[str, ...]`.
    """

    kind: ClassVar[Literal["maximise", "minimum_norm"]]

    @property
    def threat(self) -> ThreatModel:
        """The allowed set."""
        ...

    def __call__(self, goal: Goal) -> Tensor:
        """(N, C, H, W) images."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts, one for each way of use; files that they need may be made in `tmp_path`."""
        ...


@runtime_checkable
class FirstOrderAttack(Attack, Protocol):
    """An attack that moves along one gradient at a time, so that a union can drive several with the same gradient."""

    def init(self, goal: Goal) -> Tensor:
        """(N, C, H, W): where the search starts."""
        ...

    def step(self, goal: Goal, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        """(N, C, H, W): one move from `images` along the gradient of the objective, inside threat model and box."""
        ...


@runtime_checkable
class PerturbationUnion(Protocol):
    """Attacks faced together. A union without memory is called as `union(attacks, goal)`; see StatefulUnion."""

    def views(self, count: int) -> int:
        """How many views so many attacks give."""
        ...

    def __call__(self, attacks: Sequence[Attack], goal: Goal) -> Tensor:
        """(views, N, C, H, W)."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A component with memory; the engine owns the state, checkpoints it and passes it in again."""

    def start(self) -> State:
        """The state before training."""
        ...


class StatefulUnion(Protocol):
    """A union with memory: has `start()` and is called with its state, which it returns anew beside the views."""

    def start(self) -> State:
        """The state before training."""
        ...

    def views(self, count: int) -> int:
        """How many views so many attacks give."""
        ...

    def __call__(self, attacks: Sequence[Attack], goal: Goal, state: State) -> tuple[Tensor, State]:
        """((views, N, C, H, W), new state)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Neutral:
    """Settings under which a strategy equals another one: `strategy(**settings) == equals(**others)`."""

    settings: Mapping[str, Any]
    equals: str
    others: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Strategy(Protocol):
    """Who teaches whom: declares its needs as plain data, then gives one peer's loss at a time."""

    neutral: ClassVar[Neutral | None]
    symmetric: ClassVar[bool]
    """True: renaming the peers renames the losses."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """The forwards that it wants of these peers; an OptionError for peers that it does not admit."""
        ...

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """The loss of one trained peer, from declared entries alone."""
        ...

    def casts(self) -> Sequence[tuple[PeerInfo, ...]]:
        """Examples of the peers that it admits, one for each count and set of roles, for the contracts."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts."""
        ...


@runtime_checkable
class ObjectiveStrategy(Protocol):
    """A strategy that also says what its peers' attacks climb (for the peers that `Needs.craft` names)."""

    def objective(self, peer: str, goal: Goal, models: Mapping[str, Model]) -> Objective:
        """What the attack on `peer` climbs; `models` holds the peer's own and those that `Needs.craft` names for it."""
        ...


@runtime_checkable
class Architecture(Protocol):
    """A recipe for a network that takes images in [0,1], normalised outside of it, and gives logits."""

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """A fresh network for (C, H, W) images; ModelError where it cannot take them."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """A source of labelled images."""

    def __call__(self) -> Data:
        """Its splits; DataError where they are missing or malformed."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts, made of files in `tmp_path` where it reads files; never a download."""
        ...
