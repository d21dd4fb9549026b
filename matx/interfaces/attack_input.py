"""What an attack is given: the model, the images, and the objective that it maximises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from matx import losses
from matx.randomness import SampleGenerator

__all__ = [
    "OBJECTIVES",
    "AttackInput",
    "CraftingModel",
    "FreeObjective",
    "LogitObjective",
    "Model",
    "Objective",
    "ObjectiveName",
    "judge_of",
    "value_and_gradient",
]

Model = Callable[[Tensor], Tensor]
"""(N, C, H, W) images in [0,1] -> (N, classes) logits."""


class CraftingModel:
    """A Model whose gradients come from a crafting copy, beside the network itself in fp32, which judges examples."""

    def __init__(self, copy: Model, judge: Model) -> None:
        self.copy = copy
        self.judge = judge

    def __call__(self, images: Tensor) -> Tensor:
        return self.copy(images)


def judge_of(model: Model) -> Model:
    """What says which of finished examples is worse or broken: the network itself in fp32."""
    return model.judge if isinstance(model, CraftingModel) else model


class Objective(Protocol):
    """What an attack maximises, one value a sample."""

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N,)."""
        ...

    def select(self, rows: Tensor) -> Objective:
        """The objective of some of the samples."""
        ...

    def judged(self) -> Objective:
        """The objective on the networks themselves, in place of their crafting copies."""
        ...


@dataclass(frozen=True, eq=False)
class LogitObjective:
    """loss(model(images), **tensors): an objective of one model's logits; `tensors` hold one row a sample.

    >>> import torch, matx
    >>> model = torch.nn.Flatten()
    >>> objective = matx.LogitObjective(
    ...     lambda images: model(images), lambda logits, target: -(logits - target).abs().sum(1),
    ...     {"target": torch.zeros(2, 4)},
    ... )
    >>> objective(torch.ones(2, 1, 2, 2))
    tensor([-4., -4.])
    """

    model: Model
    loss: Callable[..., Tensor]
    tensors: Mapping[str, Tensor]

    def __call__(self, images: Tensor) -> Tensor:
        return self.evaluate(images)[0]

    def evaluate(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """((N,) values, (N, classes) logits) from one forward."""
        logits = self.model(images)
        return self.of(logits), logits

    def of(self, logits: Tensor) -> Tensor:
        """(N, classes) logits -> (N,)."""
        return self.loss(logits, **self.tensors)

    def select(self, rows: Tensor) -> LogitObjective:
        """The objective of some of the samples."""
        return replace(self, tensors={name: tensor[rows] for name, tensor in self.tensors.items()})

    def judged(self) -> LogitObjective:
        """The same of the network itself (see `judge_of`)."""
        return replace(self, model=judge_of(self.model))


@dataclass(frozen=True, eq=False)
class FreeObjective:
    """function(images, **models, **tensors): any objective (a moving target, several models).

    `tensors` hold one row a sample. A model that the function calls but `models` does not name is never replaced by
    the network itself where examples are judged.

    >>> import torch, matx
    >>> objective = matx.FreeObjective(
    ...     lambda images, target: (images - target).flatten(1).sum(1), {"target": torch.ones(2, 1, 2, 2)}
    ... )
    >>> objective(torch.ones(2, 1, 2, 2))
    tensor([0., 0.])
    """

    function: Callable[..., Tensor]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)

    def __call__(self, images: Tensor) -> Tensor:
        return self.function(images, **self.models, **self.tensors)

    def select(self, rows: Tensor) -> FreeObjective:
        """The objective of some of the samples."""
        return replace(self, tensors={name: tensor[rows] for name, tensor in self.tensors.items()})

    def judged(self) -> FreeObjective:
        """The same of the networks themselves (see `judge_of`)."""
        return replace(self, models={name: judge_of(model) for name, model in self.models.items()})


def _kl_to_clean(logits: Tensor, labels: Tensor, clean: Tensor) -> Tensor:
    return losses.kl_divergence(clean, logits)


OBJECTIVES: Mapping[str, Callable[..., Tensor]] = {
    "cross_entropy": losses.cross_entropy,
    "margin": losses.margin,
    "dlr": losses.dlr,
    "kl": _kl_to_clean,
}
"""The objectives on labels that an attack may name: CE, margin, DLR, and KL(p(x) || p(x')) to the clean prediction."""


ObjectiveName = Literal["cross_entropy", "margin", "dlr", "kl"]
"""For the option of an attack that names one of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackInput:
    """What one attack call is given: parameters are frozen, the mode is set, the model is differentiable in images.

    An ascent reads values and gradients from `model`. What compares finished examples (of restarts, of attacks, of
    other peers) or counts broken ones asks `judge`, or goes on with `judged()`.

    >>> import torch, matx
    >>> from matx.randomness import SampleGenerator
    >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    >>> given = matx.AttackInput(
    ...     model=torch.nn.Flatten(), images=images, labels=labels, progress=1.0,
    ...     generator=SampleGenerator(0, torch.arange(2)),
    ... )
    >>> attack = matx.attacks["fgsm"](threat=matx.ThreatModel(norm="linf", eps=0.1))
    >>> bool((attack(given) - images).abs().max() <= 0.1 + 1e-6)
    True
    """

    model: Model
    """What gradients come from; in training it may be a crafting copy: folded, or in bf16."""
    images: Tensor
    """(N, C, H, W) fp32 in [0,1], clean."""
    labels: Tensor
    """(N,) int64."""
    generator: SampleGenerator
    objective: Objective | None = None
    """What to maximise, where a strategy supplies it; None: the attack's own loss on the labels."""
    sources: Mapping[str, Tensor] = field(default_factory=dict)
    """{peer: (views, N, C, H, W)}: finished examples of the peers that the attack names in its `sources`."""
    epoch: int = 0
    step: int = 0
    progress: float = 0.0

    def objective_for(self, name: str) -> Objective:
        """The objective that a strategy supplied, else the one on the labels of that name in OBJECTIVES."""
        if self.objective is not None:
            return self.objective
        tensors = {"labels": self.labels}
        if name == "kl":
            with torch.no_grad():
                tensors["clean"] = self.model(self.images)
        return LogitObjective(self.model, OBJECTIVES[name], tensors)

    @property
    def judge(self) -> Model:
        """The network itself in fp32, in its attack mode; the model where that is no copy."""
        return judge_of(self.model)

    def judged(self) -> AttackInput:
        """The same with the network itself as the model, and the objective on it."""
        if self.judge is self.model:
            return self
        return replace(self, model=self.judge, objective=None if self.objective is None else self.objective.judged())

    def select(self, rows: Tensor) -> AttackInput:
        """The same for some of the samples (a boolean mask or indices into the batch)."""
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
