"""Let attacks loose on a model, leave the model as it was, and hold the attacks to their promises."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from matx.errors import ModelError
from matx.exchange import State
from matx.interfaces import Attack, AttackInput, Model, Objective, PerturbationUnion, Stateful

__all__ = ["Crafted", "Guarded", "Passes", "attackable", "craft", "forked", "guarded", "held", "untouched"]


@dataclass
class Passes:
    """How many images went through a network: forward, backward to the input, backward to the weights."""

    forward: int = 0
    backward_input: int = 0
    backward_weights: int = 0

    def counted(self, model: Model) -> Model:
        """The model, counting what attacks ask of it."""

        def call(images: Tensor) -> Tensor:
            self.forward += len(images)
            logits = model(images)
            if logits.requires_grad:
                register: Callable[[Callable[[Tensor], None]], object] = logits.register_hook
                register(self._backward)
            return logits

        return call

    def _backward(self, gradient: Tensor) -> None:
        self.backward_input += len(gradient)


@contextmanager
def forked(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run under fresh global generators of torch, numpy and random with this 32-bit seed; restore them afterwards."""
    kind = torch.device(device)
    devices = [kind.index or 0] if kind.type == "cuda" else []
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        # torch.manual_seed formats a stack trace for each backend that is not there: a tenth of a small network's step.
        torch.default_generator.manual_seed(seed)
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def untouched(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Run with the module in train or eval mode; every module's mode and every buffer is put back bit for bit."""
    modes = [(part, part.training) for part in module.modules()]
    buffers = [(part, name, buffer) for part in module.modules() for name, buffer in part.named_buffers(recurse=False)]
    for part, name, buffer in buffers:
        setattr(part, name, buffer.clone())  # in the buffer's place, so that no saved graph sees it change
    module.train(training)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for part, name, buffer in buffers:
            setattr(part, name, buffer)


@contextmanager
def attackable(
    module: nn.Module, *, mode: str = "eval", passes: Passes | None = None, call: Model | None = None
) -> Iterator[Model]:
    """The module as a Model to attack: parameters frozen, mode set; modes, buffers, requires_grad, .grad put back.

    `call` runs the forward in the module's stead (for autocast around it).
    """
    parameters = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    with untouched(module, training=mode == "train"):
        for parameter, _, _ in parameters:
            parameter.requires_grad_(False)
        model = call or module
        try:
            yield model if passes is None else passes.counted(model)
        finally:
            for parameter, requires_grad, gradient in parameters:
                parameter.requires_grad_(requires_grad)
                parameter.grad = gradient


def held(attack: Attack, images: Tensor, given: AttackInput) -> Tensor:
    """What an attack returned, detached and held to its promise; ModelError where shape, dtype or values are unusable.

    `maximise`: projected where outside. `minimum_norm`: the clean image where outside.
    """
    images = images.detach()
    if images.shape != given.images.shape or images.dtype != given.images.dtype:
        raise ModelError(
            f"{attack!r}: got {images.dtype} images of shape {tuple(images.shape)}, "
            f"allowed: {given.images.dtype} of shape {tuple(given.images.shape)}"
        )
    finite = images.isfinite().flatten(1).all(1)
    if not finite.all():
        raise ModelError(f"{attack!r}: {int((~finite).sum())} of {len(images)} images are not finite")
    inside = attack.threat.contains(images, given.images)
    if inside.all():
        return images
    fallback = attack.threat.project(images, given.images) if attack.kind == "maximise" else given.images
    return torch.where(inside.reshape(-1, *[1] * (images.ndim - 1)), images, fallback)


@dataclass(frozen=True, eq=False, repr=False)
class Guarded:
    """An attack whose results are held to its promise; anything else is the attack's own."""

    attack: Attack

    def __call__(self, given: AttackInput) -> Tensor:
        with torch.enable_grad():
            images = self.attack(given)
        return held(self.attack, images, given)

    def __getattr__(self, name: str) -> Any:
        if name == "attack":
            raise AttributeError(name)
        return getattr(self.attack, name)

    def __repr__(self) -> str:
        return repr(self.attack)


def guarded(attack: Attack) -> Attack:
    """The attack, held to its promise in every call."""
    return cast("Attack", Guarded(attack))


@dataclass(frozen=True, kw_only=True, eq=False)
class Crafted:
    """(views, N, C, H, W) examples, and the union's new state where it keeps one."""

    views: Tensor
    state: State = field(default_factory=dict)


def craft(
    given: AttackInput,
    attacks: Sequence[Attack],
    union: PerturbationUnion | None,
    *,
    state: State | None = None,
    objective: Callable[[AttackInput], Objective] | None = None,
) -> Crafted:
    """Run a peer's union of attacks on an input whose model is `attackable`, guarded, as (views, N, C, H, W).

    `objective` makes what the attacks maximise, where a strategy supplies it. Every view is checked to lie
    inside one of the threat models; a union that leaves them is a ModelError.
    """
    if objective is not None:
        given = replace(given, objective=objective(given))
    members = [guarded(attack) for attack in attacks]
    if union is None:
        return Crafted(views=members[0](given)[None])
    new: State = {}
    if isinstance(union, Stateful):
        views, new = _stateful(union)(members, given, state if state is not None else union.start())
    else:
        views = union(members, given)
    _check_views(union, views, given, attacks)
    return Crafted(views=views.detach(), state=new)


def _stateful(union: Any) -> Callable[[Sequence[Attack], AttackInput, State], tuple[Tensor, State]]:
    """A union that has `start()` is called with its state (StatefulUnion)."""
    call: Callable[[Sequence[Attack], AttackInput, State], tuple[Tensor, State]] = union
    return call


def _check_views(union: PerturbationUnion, views: Tensor, given: AttackInput, attacks: Sequence[Attack]) -> None:
    expected = (union.views(len(attacks)), *given.images.shape)
    if tuple(views.shape) != expected:
        raise ModelError(f"{union!r}: got views of shape {tuple(views.shape)}, allowed: {expected}")
    for view in views:
        inside = torch.zeros(len(view), dtype=torch.bool, device=view.device)
        for threat in {attack.threat for attack in attacks}:
            inside |= threat.contains(view, given.images)
        if not inside.all():
            raise ModelError(
                f"{union!r}: {int((~inside).sum())} of {len(view)} images of a view lie outside of every threat model"
            )
