"""Contracts of architectures, on the smallest images that each one takes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from matx.craft import forked
from matx.errors import ModelError
from matx.interfaces import Architecture
from matx.losses import cross_entropy
from matx.testing.trial import device, require

__all__ = [
    "CONTRACTS",
    "SHAPES",
    "copies_and_restores",
    "gives_logits",
    "gradient_reaches_everything",
    "starts_as_the_seed_says",
    "treats_samples_separately_in_eval",
]

SHAPES = ((1, 8, 8), (3, 8, 8), (3, 16, 16), (3, 32, 32), (3, 64, 64), (3, 224, 224))
"""(C, H, W) that are tried in turn; the first that is not refused with a ModelError serves."""
_CLASSES = 4


def build(architecture: Architecture) -> tuple[nn.Module, Tensor]:
    """(network, four images) of the first shape that it takes; AssertionError where it takes none."""
    reasons = []
    for shape in SHAPES:
        try:
            with forked(30):
                network = architecture(shape, _CLASSES)
        except ModelError as error:
            reasons.append(str(error))
            continue
        images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(31))
        return network.to(device()), images.to(device()) * 2.0 - 1.0  # about as a normaliser leaves them
    raise AssertionError(f"{architecture!r} takes no image of {SHAPES}: {reasons[-1]}")


def gives_logits(architecture: Architecture) -> None:
    """(N, classes) finite logits, not probabilities and not their logarithms; in train mode and of one image too."""
    network, images = build(architecture)
    for training in (True, False):
        with torch.no_grad():
            logits = network.train(training)(images)
        require(isinstance(logits, Tensor), f"{architecture!r} gives {type(logits).__name__}, not a tensor")
        require(tuple(logits.shape) == (4, _CLASSES), f"{architecture!r} gives shape {tuple(logits.shape)}")
        require(bool(logits.isfinite().all()), f"{architecture!r} gives values that are not finite")
        mass = logits.double().exp().sum(1)
        sums = logits.double().sum(1)
        probable = bool((logits >= 0).all()) and bool(torch.isclose(sums, torch.ones_like(sums), atol=1e-3).all())
        require(not probable, f"{architecture!r} gives probabilities, not logits: leave softmax to losses")
        require(
            not bool(torch.isclose(mass, torch.ones_like(mass), atol=1e-5).all()),
            f"{architecture!r} gives log-probabilities, not logits: leave log_softmax to losses",
        )
    with torch.no_grad():
        require(tuple(network(images[:1]).shape) == (1, _CLASSES), f"{architecture!r} does not take one image")


def gradient_reaches_everything(architecture: Architecture) -> None:
    """In train mode the loss has a gradient by every parameter and by the input."""
    network, images = build(architecture)
    generator = torch.Generator().manual_seed(32)
    with torch.no_grad():
        for parameter in network.parameters():  # away from zeros that some networks start their last layers with
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator).to(parameter.device))
    point = images.clone().requires_grad_()
    with forked(33):
        logits = network.train()(point)
    torch.autograd.backward(cross_entropy(logits, torch.arange(4, device=logits.device)).sum())
    for name, parameter in network.named_parameters():
        require(
            parameter.requires_grad, f"{architecture!r} freezes its parameter {name}: frozen peers are the engine's"
        )
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        require(reached, f"{architecture!r}: no gradient reaches its parameter {name}")
    require(
        point.grad is not None and bool((point.grad != 0).any()), f"{architecture!r}: no gradient reaches the input"
    )


def copies_and_restores(architecture: Architecture) -> None:
    """state_dict of one network makes another give the same logits; deepcopy shares nothing."""
    network, images = build(architecture)
    network.eval()
    with torch.no_grad():
        expected = network(images)
        other, _ = build(architecture)
        for parameter in other.parameters():
            parameter.add_(1.0)
        other.load_state_dict(network.state_dict())
        require(torch.equal(other.eval()(images), expected), f"{architecture!r} keeps something beside its state_dict")
        twin = copy.deepcopy(network)
        require(torch.equal(twin.eval()(images), expected), f"{architecture!r} gives other logits once copied")
        for parameter in twin.parameters():
            parameter.zero_()
        require(torch.equal(network(images), expected), f"{architecture!r} shares parameters with its deepcopy")


def starts_as_the_seed_says(architecture: Architecture) -> None:
    """Built twice under one seed of torch it starts from the same weights, and the two share none of them."""
    first, _ = build(architecture)
    second, _ = build(architecture)
    for (name, one), (_, other) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        require(torch.equal(one, other), f"{architecture!r} starts with another {name} under the same seed")
    shared = {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    require(not shared, f"{architecture!r} gives the same network twice: build a fresh one at each call")


def treats_samples_separately_in_eval(architecture: Architecture) -> None:
    """In eval mode an image's logits depend on that image only, are the same each time, and change no buffer."""
    network, images = build(architecture)
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        whole = network(images)
        require(
            torch.equal(network(images), whole), f"{architecture!r} gives other logits the second time in eval mode"
        )
        one = network(images[2:3])
    scale = whole.abs().max().clamp_min(1.0)
    require(
        bool(((one - whole[2:3]).abs() <= 1e-4 * scale).all()),
        f"{architecture!r} lets other images of a batch change an image's logits in eval mode",
    )
    for name, value in network.state_dict().items():
        require(torch.equal(before[name], value), f"{architecture!r} changed {name} in eval mode")


CONTRACTS: tuple[Callable[[Any], None], ...] = (
    gives_logits,
    gradient_reaches_everything,
    copies_and_restores,
    starts_as_the_seed_says,
    treats_samples_separately_in_eval,
)
"""The contracts of this file."""
