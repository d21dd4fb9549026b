"""Contracts of attacks. What craft guarantees whatever an attack does (projection, restored models) is tested there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from matx.errors import MatxError, OptionError
from matx.interfaces import (
    OBJECTIVES,
    Attack,
    AttackInput,
    FirstOrderAttack,
    FreeObjective,
    run_attack,
    sources_of,
    value_and_gradient,
)
from matx.learner import forward
from matx.testing.trial import Busy, Flat, Smooth, Trial, inside, require, standard_trial
from matx.threat import ThreatModel

__all__ = [
    "CONTRACTS",
    "declares_kind_and_threat",
    "does_not_depend_on_the_batch",
    "finds_better_examples",
    "first_order_steps_stay_inside",
    "maximises_what_a_strategy_supplies",
    "more_restarts_never_hurt",
    "repeats_itself",
    "returns_images_inside",
    "survives_zero_gradients",
    "takes_any_layout_and_size",
    "takes_few_classes_or_says_no",
    "touches_nothing",
    "works_in_bf16_and_under_no_grad",
]

KINDS = ("maximise", "minimum_norm")


def declares_kind_and_threat(attack: Attack) -> None:
    """`kind` says how craft checks what it returns, `threat` against which set."""
    require(attack.kind in KINDS, f"{attack!r}.kind: got {attack.kind!r}, allowed: {', '.join(KINDS)}")
    require(isinstance(attack.threat, ThreatModel), f"{attack!r}.threat: got {attack.threat!r}, allowed: a ThreatModel")


def returns_images_inside(attack: Attack) -> None:
    """Shape, dtype, device as given; finite, detached, inside threat model and box."""
    trial = standard_trial()
    _check(attack, trial, trial.examples(attack))


def _check(attack: Attack, trial: Trial, images: Tensor) -> None:
    require(images.shape == trial.images.shape, f"{attack!r} gave shape {tuple(images.shape)}")
    require(images.dtype == trial.images.dtype, f"{attack!r} gave {images.dtype} images")
    require(images.device == trial.images.device, f"{attack!r} gave images on {images.device}")
    require(not images.requires_grad, f"{attack!r} gave images with a graph")
    require(bool(images.isfinite().all()), f"{attack!r} gave images that are not finite")
    require(inside(attack.threat, images, trial.images), f"{attack!r} gave images outside {attack.threat.key} or [0,1]")


def survives_zero_gradients(attack: Attack) -> None:
    """Where the gradient is exactly zero the images stay finite and inside (0 / 0 is what breaks here)."""
    for trial in (standard_trial(module=Flat()), _saturated()):
        _check(attack, trial, trial.examples(attack))


def _saturated() -> Trial:
    """A model so sure that cross-entropy and its gradient are exactly zero."""
    module = Smooth()
    with torch.no_grad():
        module.second.mul_(1e4)
    return standard_trial(module=module)


def touches_nothing(attack: Attack) -> None:
    """Inputs, parameters, buffers, modes and .grad are after the call what they were before it."""
    trial = standard_trial(module=Busy())
    trial.module.train()
    trial.module.get_submodule("norm").eval()  # a part that its owner keeps in another mode
    for parameter in trial.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    inputs = [trial.images.clone(), trial.labels.clone(), trial.indices.clone()]
    with trial.given(attack) as given:
        sources = {name: views.clone() for name, views in given.sources.items()}
        inner = _snapshot(trial)
        try:
            attack(given)
        except MatxError as error:
            raise AssertionError(f"{attack!r} was refused: {error}") from error
        for name, value in _snapshot(trial).items():
            require(_same(inner[name], value), f"{attack!r} changed {name} of the model that it attacks")
        for name, views in sources.items():
            require(torch.equal(given.sources[name], views), f"{attack!r} changed the examples of source {name!r}")
    for name, before, after in zip(
        ("images", "labels", "indices"), inputs, (trial.images, trial.labels, trial.indices), strict=True
    ):
        require(torch.equal(before, after), f"{attack!r} changed the {name} that it was given")


def _snapshot(trial: Trial) -> dict[str, Any]:
    module = trial.module
    found: dict[str, Any] = {f"value {name}": value.clone() for name, value in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        found[f"gradient of {name}"] = None if parameter.grad is None else parameter.grad.clone()
        found[f"requires_grad of {name}"] = parameter.requires_grad
    found |= {f"mode of {name or 'the whole'}": part.training for name, part in module.named_modules()}
    return found


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second)
    return bool(first == second)


def repeats_itself(attack: Attack) -> None:
    """The same input gives the same images, whatever the global generators hold."""
    trial = standard_trial()
    first, second = trial.examples(attack), replace(trial, noise=1).examples(attack)
    require(
        torch.equal(first, second),
        f"{attack!r} gave other images the second time: draw from given.generator only, and keep no memory",
    )


def does_not_depend_on_the_batch(attack: Attack) -> None:
    """A sample's example is the same in a batch of one, in another order, and in the whole batch."""
    trial = standard_trial()
    whole = trial.examples(attack)
    for rows in (torch.tensor([4]), torch.tensor([3, 0, 5, 1])):
        part = trial.rows(rows).examples(attack)
        require(
            bool(torch.isclose(part, whole[rows], rtol=0.0, atol=1e-6).all()),
            f"{attack!r} gave a sample another example in a batch of {len(rows)} than in one of {len(whole)}: "
            "key draws by sample (given.generator), sum losses, and never share a decision between samples",
        )


def finds_better_examples(attack: Attack) -> None:
    """`maximise`: its objective is higher than on clean images. `minimum_norm`: it fools the model near the boundary.

    An attack that never asks the model (noise, as a control) must only move the images.
    """
    trial = standard_trial(count=12)
    found = trial.examples(attack)
    if not trial.forwards:
        require(not torch.equal(found, trial.images), f"{attack!r} neither asks the model nor moves the images")
        return
    if attack.kind == "minimum_norm":
        fooled = bool((trial.margins(found) > 0).any())
        require(fooled, f"{attack!r} fooled the model on no image, not even within a hundredth of the boundary")
        return
    before, after = _values(attack, trial, trial.images), _values(attack, trial, found)
    require(
        bool(after.mean() > before.mean()),
        f"{attack!r} does not maximise: its mean objective went from {float(before.mean()):.6f} to "
        f"{float(after.mean()):.6f}",
    )


def _values(attack: Attack, trial: Trial, images: Tensor) -> Tensor:
    """(N,) the attack's own objective, as far as it names one of those on labels; else the margin."""
    name = getattr(attack, "objective", "margin")
    with trial.given(attack) as given, torch.no_grad():
        return given.objective_for(name if name in OBJECTIVES else "margin")(images)


def maximises_what_a_strategy_supplies(attack: Attack) -> None:
    """Given an objective of a strategy it maximises that one, or refuses with an OptionError; it never ignores it.

    An attack that never asks the model (noise, as a control) has nothing to maximise; one that chooses among given
    examples must ask the objective which of them.
    """
    trial = standard_trial(count=12)
    evaluated: list[int] = []
    direction = torch.randn(trial.images.shape, generator=torch.Generator().manual_seed(24)).sign().to(trial.device)

    def counted(images: Tensor, direction: Tensor) -> Tensor:
        evaluated.append(len(images))
        return _towards(images, direction)

    trial = replace(trial, objective=FreeObjective(counted, {"direction": direction}))
    with trial.given(attack) as given:
        trial.forwards.clear()
        try:
            found = run_attack(attack, given)
        except OptionError:
            return
    require(
        bool(evaluated) or not trial.forwards,
        f"{attack!r} ignores the objective that a strategy supplies: use given.objective_for(), or refuse it with an "
        "OptionError",
    )
    before, after = _towards(trial.images, direction).mean(), _towards(found, direction).mean()
    require(
        bool(after > before) or not evaluated or bool(sources_of(attack)),
        f"{attack!r} does not maximise the objective that a strategy supplies: its mean went from {float(before):.4f} "
        f"to {float(after):.4f}",
    )


def _towards(images: Tensor, direction: Tensor) -> Tensor:
    """(N,): an objective of the images only, which has nothing to do with labels or a model."""
    return (images * direction).flatten(1).sum(1)


def takes_any_layout_and_size(attack: Attack) -> None:
    """One image, channels_last memory, images at the edges of the box."""
    trial = standard_trial()
    one = trial.rows(torch.tensor([0]))
    _check(attack, one, one.examples(attack))
    last = replace(trial, images=trial.images.contiguous(memory_format=torch.channels_last))
    images = last.examples(attack)
    _check(attack, last, images)
    require(
        bool(torch.isclose(images, trial.examples(attack), rtol=0.0, atol=1e-5).all()),
        f"{attack!r} gave other images for channels_last memory: use reshape and flatten, never view",
    )
    edges = replace(trial, images=trial.images.round())
    _check(attack, edges, edges.examples(attack))


def works_in_bf16_and_under_no_grad(attack: Attack) -> None:
    """Forwards in bf16 autocast, and a caller's no_grad around the whole attack."""
    trial = standard_trial(module=Busy())
    rounded = replace(trial, call=lambda images: forward(trial.module, images, torch.bfloat16))
    _check(attack, rounded, rounded.examples(attack))
    smooth = standard_trial()
    with torch.no_grad():
        quiet = smooth.examples(attack)
    require(
        torch.equal(quiet, smooth.examples(attack)),
        f"{attack!r} gave other images under a caller's no_grad: enable gradients where it needs them "
        "(interfaces.value_and_gradient does)",
    )


def takes_few_classes_or_says_no(attack: Attack) -> None:
    """With two or three classes it works, or refuses with one of matx's errors; it never stumbles."""
    for classes in (2, 3):
        trial = standard_trial(classes=classes)
        with trial.given(attack) as given:
            try:
                attack(given)
            except MatxError:
                continue
            except Exception as error:  # what it stumbles over can be anything
                raise AssertionError(
                    f"{attack!r} stumbles over {classes} classes ({type(error).__name__}: {error}): "
                    "derive what it needs from the logits, or raise an OptionError"
                ) from error
        _check(attack, trial, trial.examples(attack))


def more_restarts_never_hurt(attack: Attack) -> None:
    """Where it has `restarts`, two more never lose a sample that fewer found."""
    if not hasattr(attack, "restarts"):
        return
    changed: Any = attack
    more: Attack = replace(changed, restarts=changed.restarts + 2)
    trial = standard_trial(count=12)
    few, many = trial.examples(attack), trial.examples(more)
    fooled, kept = trial.margins(few) > 0, trial.margins(many) > 0
    require(
        bool((kept | ~fooled).all()),
        f"{attack!r} loses {int((fooled & ~kept).sum())} samples with two restarts more: "
        "keep the best so far, misclassified first",
    )


def first_order_steps_stay_inside(attack: Attack) -> None:
    """An attack with `init` and `step` starts inside, stays inside, and moves uphill along the gradient it is given."""
    if not isinstance(attack, FirstOrderAttack):
        return
    trial = standard_trial(count=12)
    with trial.given(attack) as given:
        images = attack.init(given)
        first = images
        require(inside(attack.threat, first, given.images), f"{attack!r}.init starts outside its threat model or [0,1]")
        objective = given.objective_for("margin")
        for iteration in range(3):
            _, gradient = value_and_gradient(objective, images)
            moved = attack.step(given, images, gradient, iteration)
            require(inside(attack.threat, moved, given.images), f"{attack!r}.step leaves its threat model or [0,1]")
            images = moved.detach()
        _uphill(attack, given, first, images)
        still = attack.step(given, images, torch.zeros_like(images), 0)
        require(bool(still.isfinite().all()), f"{attack!r}.step is not finite for a zero gradient")


def _uphill(attack: Attack, given: AttackInput, first: Tensor, images: Tensor) -> None:
    with torch.no_grad():
        before, after = (given.objective_for("margin")(x).mean() for x in (first, images))
    require(bool(after > before), f"{attack!r}.step does not raise the objective along the gradient that it is given")


CONTRACTS: tuple[Callable[[Any], None], ...] = (
    declares_kind_and_threat,
    returns_images_inside,
    survives_zero_gradients,
    touches_nothing,
    repeats_itself,
    does_not_depend_on_the_batch,
    finds_better_examples,
    maximises_what_a_strategy_supplies,
    takes_any_layout_and_size,
    works_in_bf16_and_under_no_grad,
    takes_few_classes_or_says_no,
    more_restarts_never_hurt,
    first_order_steps_stay_inside,
)
"""The contracts of this file."""
