"""Bad unions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from matx.interfaces import Attack, AttackInput


@dataclass(frozen=True, kw_only=True)
class Bad:
    """The first attack's examples, but something is wrong."""

    def views(self, count: int) -> int:
        return 1

    def __call__(self, attacks: Sequence[Attack], given: AttackInput) -> Tensor:
        return attacks[0](given)[None]


@dataclass(frozen=True, kw_only=True)
class Miscounting(Bad):
    """More views than it announces."""

    def __call__(self, attacks: Sequence[Attack], given: AttackInput) -> Tensor:
        return attacks[0](given)[None].repeat(2, 1, 1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Adding(Bad):
    """The sum of all perturbations: outside of every threat model."""

    def __call__(self, attacks: Sequence[Attack], given: AttackInput) -> Tensor:
        moved = given.images + 5.0 * sum(attack(given) - given.images for attack in attacks)
        return moved.clamp(0.0, 1.0)[None]


@dataclass(frozen=True, kw_only=True)
class Weakening(Bad):
    """Halfway back to the clean images."""

    def __call__(self, attacks: Sequence[Attack], given: AttackInput) -> Tensor:
        return (0.5 * (given.images + attacks[0](given)))[None]


@dataclass(frozen=True, kw_only=True)
class Boasting(Bad):
    """Says that it dominates its members, and takes the first."""

    dominates = True


@dataclass(frozen=True, kw_only=True)
class Remembering(Bad):
    """Another attack at every call."""

    calls: list[int] = field(default_factory=list)

    def __call__(self, attacks: Sequence[Attack], given: AttackInput) -> Tensor:
        self.calls.append(0)
        return attacks[len(self.calls) % len(attacks)](given)[None]


@dataclass(frozen=True, kw_only=True)
class Writing(Bad):
    """Changes the clean images."""

    def __call__(self, attacks: Sequence[Attack], given: AttackInput) -> Tensor:
        given.images.mul_(0.999)
        return attacks[0](given)[None]


@dataclass(frozen=True, kw_only=True)
class Stateful:
    """Keeps a state; `fault` says how badly."""

    fault: str
    calls: list[int] = field(default_factory=list)

    def start(self) -> dict[str, Any]:
        return {"turn": [0]} if self.fault == "kind" else {"turn": torch.zeros(())}

    def views(self, count: int) -> int:
        return 1

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> tuple[Tensor, Any]:
        turn = int(state["turn"])
        if self.fault == "place":
            state["turn"].add_(1)
        if self.fault == "beside":
            self.calls.append(0)
            turn = len(self.calls)
        return attacks[turn % len(attacks)](given)[None], {"turn": torch.tensor(turn + 1)}


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    ("gives_the_views_it_announces", Miscounting, "views of shape"),
    ("gives_the_views_it_announces", Adding, "outside of every threat model"),
    ("of_one_attack_is_that_attack", Weakening, "gives other images than"),
    ("worst_case_is_no_weaker_than_a_member", Boasting, "weaker than its member"),
    ("repeats_itself", Remembering, "the second time"),
    ("leaves_inputs_alone", Writing, "changed the images"),
    ("keeps_its_state_in_the_open", lambda: Stateful(fault="kind"), "keeps list 'turn'"),
    ("keeps_its_state_in_the_open", lambda: Stateful(fault="place"), "changed 'turn'"),
    ("keeps_its_state_in_the_open", lambda: Stateful(fault="beside"), "remembers something beside its state"),
]
"""(contract, a component that breaks it, words of the sentence)."""
