"""Bad attacks; each is the good `Ascent` with one fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from matx.interfaces import OBJECTIVES, AttackInput, FirstOrderAttack, LogitObjective, value_and_gradient
from matx.testing.unions import Ascent
from matx.threat import ThreatModel

THREAT = ThreatModel(norm="linf", eps="8/255")


def _gradient(given: AttackInput, name: str = "cross_entropy") -> Tensor:
    return value_and_gradient(given.objective_for(name), given.images)[1]


def _step(given: AttackInput, direction: Tensor) -> Tensor:
    return THREAT.project(given.images + THREAT.radius * direction, given.images)


@dataclass(frozen=True, kw_only=True)
class Bad(Ascent):
    """Something is wrong with this one."""

    threat: ThreatModel = THREAT


@dataclass(frozen=True, kw_only=True)
class OfUnknownKind(Bad):
    """Misspelt."""

    kind = "maximize"


@dataclass(frozen=True, kw_only=True)
class WithoutThreat(Bad):
    """A number where a threat model belongs."""

    threat: Any = 0.03


@dataclass(frozen=True, kw_only=True)
class Upscaling(Bad):
    """Another shape."""

    def __call__(self, given: AttackInput) -> Tensor:
        return given.images.repeat_interleave(2, dim=2)


@dataclass(frozen=True, kw_only=True)
class InDouble(Bad):
    """Another dtype."""

    def __call__(self, given: AttackInput) -> Tensor:
        return super().__call__(given).double()


@dataclass(frozen=True, kw_only=True)
class Unguarded(Bad):
    """0 / 0 for a zero gradient."""

    def __call__(self, given: AttackInput) -> Tensor:
        gradient = _gradient(given)
        return _step(given, gradient / gradient.abs().amax((1, 2, 3), keepdim=True))


@dataclass(frozen=True, kw_only=True)
class WritingIntoImages(Bad):
    """Changes the clean images in place."""

    def __call__(self, given: AttackInput) -> Tensor:
        given.images.add_(0.01).clamp_(0.0, 1.0)
        return _step(given, _gradient(given).sign())


@dataclass(frozen=True, kw_only=True)
class WritingIntoTheModel(Bad):
    """Changes what it finds through the model; `what` says what."""

    what: str

    def __call__(self, given: AttackInput) -> Tensor:
        module = _module_of(given)
        if self.what == "mode":
            module.train()
        elif self.what == "buffer":
            module.norm.running_mean.add_(1.0)
        elif self.what == "gradient":
            next(module.parameters()).grad = None
        else:
            with torch.no_grad():
                next(module.parameters()).mul_(2.0)
        return given.images


def _module_of(given: AttackInput) -> Any:
    """The module behind the trial's call, as an attack that looks for it would find it."""
    return given.model.__self__.module


@dataclass(frozen=True, kw_only=True)
class Remembering(Bad):
    """Draws otherwise at its second call."""

    calls: list[int] = field(default_factory=list)

    def __call__(self, given: AttackInput) -> Tensor:
        self.calls.append(0)
        return self.threat.random_start(given.images, given.generator.at(len(self.calls)))


@dataclass(frozen=True, kw_only=True)
class DrawingGlobally(Bad):
    """Draws from torch's global generator."""

    def __call__(self, given: AttackInput) -> Tensor:
        return _step(given, torch.rand_like(given.images) * 2.0 - 1.0)


@dataclass(frozen=True, kw_only=True)
class MixingSamples(Bad):
    """Every sample follows the gradients of the whole batch."""

    def __call__(self, given: AttackInput) -> Tensor:
        return _step(given, (_gradient(given) + _gradient(given).mean(0)).sign())


@dataclass(frozen=True, kw_only=True)
class Descending(Bad):
    """The wrong sign."""

    def __call__(self, given: AttackInput) -> Tensor:
        return _step(given, -_gradient(given).sign())


@dataclass(frozen=True, kw_only=True)
class Idle(Bad):
    """Returns the clean images, without a question."""

    def __call__(self, given: AttackInput) -> Tensor:
        return given.images


@dataclass(frozen=True, kw_only=True)
class FindingNothing(Bad):
    """Asks, and returns the clean images as the nearest it has found."""

    kind = "minimum_norm"

    def __call__(self, given: AttackInput) -> Tensor:
        given.model(given.images)
        return given.images


@dataclass(frozen=True, kw_only=True)
class DeafToStrategies(Bad):
    """Maximises the loss on the labels whatever a strategy supplies."""

    def __call__(self, given: AttackInput) -> Tensor:
        objective = LogitObjective(given.model, OBJECTIVES["cross_entropy"], {"labels": given.labels})
        _, gradient = value_and_gradient(objective, given.images)
        return _step(given, gradient.sign())


@dataclass(frozen=True, kw_only=True)
class Viewing(Bad):
    """`view` on memory that is not contiguous."""

    def __call__(self, given: AttackInput) -> Tensor:
        given.images.view(len(given.images), -1)
        return super().__call__(given)


@dataclass(frozen=True, kw_only=True)
class ByDifferences(Bad):
    """Finite differences so small that bf16 forwards do not show them: 0 / 0."""

    def __call__(self, given: AttackInput) -> Tensor:
        direction = given.generator.at("direction").normal(tuple(given.images.shape[1:])).sign()
        objective = given.objective_for("margin")
        slope = objective(given.images + 1e-3 * direction) - objective(given.images)
        return _step(given, direction * (slope / slope.abs()).reshape(-1, 1, 1, 1))


@dataclass(frozen=True, kw_only=True)
class OfFourClasses(Bad):
    """Takes the fourth largest logit for granted."""

    def __call__(self, given: AttackInput) -> Tensor:
        given.model(given.images).topk(4)
        return super().__call__(given)


@dataclass(frozen=True, kw_only=True)
class KeepingTheLast(Bad):
    """The last restart replaces those before it."""

    restarts: int = 1

    def __call__(self, given: AttackInput) -> Tensor:
        if self.restarts == 1:
            return _step(given, _gradient(given, "margin").sign())
        return self.threat.random_start(given.images, given.generator)


@dataclass(frozen=True, kw_only=True)
class StartingOutside(Bad):
    """`init` starts outside of the box."""

    def init(self, given: AttackInput) -> Tensor:
        return given.images + 0.5


@dataclass(frozen=True, kw_only=True)
class SteppingOutside(Bad):
    """`step` does not project."""

    def step(self, given: AttackInput, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        return images + 0.5 * self.threat.steepest(gradient)


@dataclass(frozen=True, kw_only=True)
class SteppingDown(Bad):
    """`step` descends."""

    def step(self, given: AttackInput, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        return super().step(given, images, -gradient, iteration)


CASES: Sequence[tuple[str, Callable[[], FirstOrderAttack], str]] = [
    ("declares_kind_and_threat", OfUnknownKind, "got 'maximize', allowed: maximise, minimum_norm"),
    ("declares_kind_and_threat", WithoutThreat, "got 0.03, allowed: a ThreatModel"),
    ("returns_images_inside", Upscaling, "images of shape"),
    ("returns_images_inside", InDouble, "float64"),
    ("survives_zero_gradients", Unguarded, "not finite"),
    ("touches_nothing", WritingIntoImages, "changed the images"),
    ("touches_nothing", lambda: WritingIntoTheModel(what="mode"), "changed mode of"),
    ("touches_nothing", lambda: WritingIntoTheModel(what="buffer"), "changed value norm.running_mean"),
    ("touches_nothing", lambda: WritingIntoTheModel(what="gradient"), "changed gradient of"),
    ("touches_nothing", lambda: WritingIntoTheModel(what="weight"), "changed value conv.weight"),
    ("repeats_itself", Remembering, "the second time"),
    ("repeats_itself", DrawingGlobally, "the second time"),
    ("does_not_depend_on_the_batch", DrawingGlobally, "in a batch of"),
    ("does_not_depend_on_the_batch", MixingSamples, "in a batch of"),
    ("finds_better_examples", Descending, "does not maximise"),
    ("finds_better_examples", Idle, "neither asks the model nor moves"),
    ("finds_better_examples", FindingNothing, "fooled the model on no image"),
    ("maximises_what_a_strategy_supplies", DeafToStrategies, "ignores the objective"),
    ("maximises_what_a_strategy_supplies", FindingNothing, "ignores the objective"),
    ("maximises_what_a_strategy_supplies", Descending, "does not maximise the objective"),
    ("takes_any_layout_and_size", Viewing, "view"),
    ("works_in_bf16_and_under_no_grad", ByDifferences, "not finite"),
    ("takes_few_classes_or_says_no", OfFourClasses, "stumbles over 2 classes"),
    ("more_restarts_never_hurt", KeepingTheLast, "with two restarts more"),
    ("first_order_steps_stay_inside", StartingOutside, "init starts outside"),
    ("first_order_steps_stay_inside", SteppingOutside, "step leaves"),
    ("first_order_steps_stay_inside", SteppingDown, "does not raise the objective along the gradient"),
]
"""(contract, a component that breaks it, words of the sentence)."""
