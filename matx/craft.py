"""Run attacks on a frozen model, check what they return, and leave the model as it was."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from matx.errors import ModelError
from matx.exchange import Crafted, State
from matx.interfaces import (
    Attack,
    AttackInput,
    CraftingModel,
    Model,
    Objective,
    PerturbationUnion,
    copied,
    default_type_kept,
    refuse_writes,
    run_attack,
)

__all__ = ["Passes", "attackable", "craft", "forked", "tf32", "untouched"]


@dataclass
class Passes:
    """How many images went through a network: forward, backward to the input, backward to the weights."""

    forward: int = 0
    backward_input: int = 0
    backward_weights: int = 0

    def counted(self, model: Model) -> Model:
        """The model, with every forward and every backward to its input counted."""

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
def tf32(*, allowed: bool) -> Iterator[None]:
    """Whether fp32 convolutions and matrix products may round their factors to TF32, on GPUs that have it."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


@contextmanager
def untouched(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Run with the module in train or eval mode; every module's mode and every buffer is put back bit for bit."""
    modes = [(part, part.training) for part in module.modules()]
    # In the buffers' place, so that no saved graph sees them change; setattr would take longer than a small forward.
    buffers = [(part._buffers, dict(part._buffers)) for part, _ in modes if part._buffers]
    for live, kept in buffers:
        live.update({name: None if buffer is None else buffer.clone() for name, buffer in kept.items()})
    module.train(training)
    try:
        yield
    finally:
        for part, mode in modes:
            if part.training != mode:
                part.training = mode
        for live, kept in buffers:
            live.update(kept)


@contextmanager
def attackable(
    module: nn.Module,
    *,
    mode: str = "eval",
    passes: Passes | None = None,
    call: Model | None = None,
    copy: Model | None = None,
) -> Iterator[Model]:
    """The module as a Model to attack: parameters frozen, mode set; modes, buffers, requires_grad, .grad put back.

    `call` runs the forward in the module's stead. With a `copy` gradients come from that, and examples are judged by
    the module.
    """
    parameters = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    with untouched(module, training=mode == "train"):
        for parameter, _, _ in parameters:
            parameter.requires_grad_(False)
        count: Callable[[Model], Model] = (lambda model: model) if passes is None else passes.counted
        model = count(call or module)
        try:
            yield model if copy is None else CraftingModel(count(copy), model)
        finally:
            for parameter, requires_grad, gradient in parameters:
                parameter.requires_grad_(requires_grad)
                parameter.grad = gradient


def craft(
    given: AttackInput,
    attacks: Sequence[Attack],
    union: PerturbationUnion | None,
    *,
    state: State | None = None,
    objective: Callable[[AttackInput], Objective] | None = None,
) -> Crafted:
    """Run a peer's union of attacks on an input whose model is `attackable`: (views, N, C, H, W) and a new state.

    `state` None is the union's state before training. `objective` makes what the attacks maximise, where a strategy
    supplies it. ModelError where an image of a view lies in none of the threat models, or where a union that says
    which attacks its examples came from does not.
    """
    if objective is not None:
        given = replace(given, objective=objective(given))
    if union is None:
        views = run_attack(attacks[0], given)[None]
        return Crafted(views=views, winners=torch.ones(*views.shape[:2], 1, device=views.device))
    state = union.start() if state is None else state
    seen, before = copied(given), copied(state)
    with default_type_kept(union):
        crafted = union(attacks, seen, before)
    refuse_writes(union, seen, given, f"{union!r} or an attack that it steps ({', '.join(map(repr, attacks))})")
    refuse_writes(union, {"state": before}, {"state": state})
    _check_views(union, crafted.views, given, attacks)
    _check_winners(union, crafted, len(attacks))
    winners = None if crafted.winners is None else crafted.winners.detach().clone()
    return Crafted(views=crafted.views.detach().clone(), winners=winners, state=crafted.state)


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


def _check_winners(union: PerturbationUnion, crafted: Crafted, count: int) -> None:
    if crafted.winners is None and not union.says_winners:
        return
    expected, found = (*crafted.views.shape[:2], count), crafted.winners
    got = "none" if found is None else f"shape {tuple(found.shape)}"
    if not union.says_winners or found is None or tuple(found.shape) != expected:
        allowed = f"shape {expected}" if union.says_winners else "none, since its says_winners is False"
        raise ModelError(f"{union!r}: got winners of {got}, allowed: {allowed}")
    if not torch.allclose(found.sum(-1), found.new_ones(())):
        raise ModelError(f"{union!r}: got winners whose shares do not sum to 1 for each example")
