"""Bad optimizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Bad:
    """Gradient descent with momentum, and one fault."""

    fault: str = ""
    clip: float | None = None
    made: list[torch.optim.Optimizer] = field(default_factory=list)

    def __call__(self, parameters: Mapping[str, nn.Parameter]) -> Any:
        chosen = list(parameters.values())
        if self.fault == "writes":
            with torch.no_grad():
                chosen[0].zero_()
        if self.fault == "function":
            return lambda: None
        if self.fault == "some":
            chosen = chosen[1:]
        if self.fault == "more":
            chosen = [*chosen, nn.Parameter(torch.zeros(1))]
        kind = {"own rate": OwnRate, "counts": Counting}.get(self.fault, torch.optim.SGD)
        rate = {"up": -0.05, "still": 0.0}.get(self.fault, 0.05)
        groups: list[Any] = [{"params": chosen}]
        if self.fault == "half":
            groups = [{"params": chosen[:1], "lr": 0.0}, {"params": chosen[1:]}]
        found = kind(groups, lr=abs(rate), momentum=0.9, maximize=rate < 0)
        if self.fault == "shared":
            self.made.append(found)
            return self.made[0]
        return found


class OwnRate(torch.optim.SGD):
    """A rate of its own."""

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["lr"] = 0.05
        super().step(closure)


class Counting(torch.optim.SGD):
    """Counts its steps beside its state, and stops after the third."""

    count = 0

    def step(self, closure: Any = None) -> None:
        self.count += 1
        if self.count <= 3:
            super().step(closure)


def _case(contract: str, fault: str, words: str) -> tuple[str, Callable[[], Any], str]:
    return contract, lambda: Bad(fault=fault), words


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    _case("takes_every_parameter", "function", "not a torch optimizer"),
    _case("takes_every_parameter", "some", "leaves out 0.weight"),
    _case("takes_every_parameter", "more", "or a strange one"),
    _case("takes_every_parameter", "writes", "changes weights when"),
    _case("takes_every_parameter", "shared", "the same optimizer twice"),
    _case("descends", "up", "in 50 steps"),
    _case("descends", "half", "does not move 0.weight"),
    _case("follows_the_rate", "own rate", "at learning rate 0"),
    _case("continues_from_its_state", "counts", "differently after a restart"),
]
"""(contract, a component that breaks it, words of the sentence)."""
