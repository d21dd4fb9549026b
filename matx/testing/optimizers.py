"""Contracts of optimizers, tried as the engine uses them: made once, rates set before each step, saved and restored."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from matx.interfaces import Optimizer
from matx.testing.trial import require

__all__ = ["CONTRACTS", "continues_from_its_state", "descends", "follows_the_rate", "takes_every_parameter"]


def _network() -> nn.Module:
    """Three layers with a normalisation, the same weights each time."""
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    generator = torch.Generator().manual_seed(50)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    return network


def _loss(network: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(51)
    inputs, labels = torch.randn(24, 6, generator=generator), torch.arange(24) % 3
    loss: Tensor = nn.functional.cross_entropy(network(inputs), labels)
    return loss


def _steps(network: nn.Module, optimizer: torch.optim.Optimizer, count: int, factor: float = 1.0) -> None:
    """Descend as a Learner does."""
    for _ in range(count):
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        torch.autograd.backward(_loss(network))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _made(optimizer: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    made = optimizer(dict(network.named_parameters()))
    require(
        isinstance(made, torch.optim.Optimizer), f"{optimizer!r} makes {type(made).__name__}, not a torch optimizer"
    )
    return made


def _values(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def _same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def takes_every_parameter(optimizer: Optimizer) -> None:
    """What it makes has every parameter in one group, once, changes none when it is made, and is new at each call."""
    network = _network()
    before = _values(network)
    made, other = _made(optimizer, network), _made(optimizer, network)
    require(_same(before, _values(network)), f"{optimizer!r} changes weights when the optimizer is made")
    taken = [id(p) for p in itertools.chain.from_iterable(group["params"] for group in made.param_groups)]
    missing = [name for name, p in network.named_parameters() if id(p) not in taken]
    require(not missing, f"{optimizer!r} leaves out {', '.join(missing)}: these would never be trained")
    require(len(taken) == len(set(taken)) == len(before), f"{optimizer!r} takes a parameter twice, or a strange one")
    require(made is not other, f"{optimizer!r} gives the same optimizer twice: every peer needs its own")


def descends(optimizer: Optimizer) -> None:
    """Fifty steps lower a loss, in every parameter's direction."""
    network = _network()
    before, start = _values(network), float(_loss(network).detach())
    _steps(network, _made(optimizer, network), 50)
    end = float(_loss(network).detach())
    require(end < start, f"{optimizer!r} takes a loss from {start:g} to {end:g} in 50 steps")
    still = [name for (name, p), old in zip(network.named_parameters(), before, strict=True) if torch.equal(p, old)]
    require(not still, f"{optimizer!r} does not move {', '.join(still)}")


def follows_the_rate(optimizer: Optimizer) -> None:
    """Where every group's learning rate is 0 nothing moves: a schedule sets rates before each step."""
    network = _network()
    before = _values(network)
    _steps(network, _made(optimizer, network), 3, factor=0.0)
    require(_same(before, _values(network)), f"{optimizer!r} moves weights at learning rate 0, so no schedule stops it")


def continues_from_its_state(optimizer: Optimizer) -> None:
    """Saved after three steps and restored in a new one, it takes the next three as if nothing had stopped it."""
    network = _network()
    made = _made(optimizer, network)
    _steps(network, made, 3)
    twin, state = copy.deepcopy(network), copy.deepcopy(made.state_dict())
    _steps(network, made, 3)
    restored = _made(optimizer, twin)
    restored.load_state_dict(state)
    _steps(twin, restored, 3)
    require(
        _same(_values(network), _values(twin)),
        f"{optimizer!r} goes on differently after a restart: all that it remembers belongs into its state_dict",
    )


CONTRACTS: tuple[Callable[[Any], None], ...] = (
    takes_every_parameter,
    descends,
    follows_the_rate,
    continues_from_its_state,
)
"""The contracts of this file."""
