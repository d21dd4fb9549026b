"""Bad unions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from matx.interfaces import Attack, AttackInput, Crafted, run_attack


@dataclass(frozen=True, kw_only=True)
class Bad:
    """The first attack's examples, but something is wrong."""

    says_winners = False

    def start(self) -> dict[str, Any]:
        return {}

    def views(self, count: int) -> int:
        return 1

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        return Crafted(views=run_attack(attacks[0], given)[None], state=state)


@dataclass(frozen=True, kw_only=True)
class Miscounting(Bad):
    """More views than it announces."""

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        return Crafted(views=run_attack(attacks[0], given)[None].repeat(2, 1, 1, 1, 1), state=state)


@dataclass(frozen=True, kw_only=True)
class Adding(Bad):
    """The sum of all perturbations: outside of every threat model."""

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        moved = given.images + 5.0 * sum(run_attack(attack, given) - given.images for attack in attacks)
        return Crafted(views=moved.clamp(0.0, 1.0)[None], state=state)


@dataclass(frozen=True, kw_only=True)
class Weakening(Bad):
    """Halfway back to the clean images."""

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        return Crafted(views=(0.5 * (given.images + run_attack(attacks[0], given)))[None], state=state)


@dataclass(frozen=True, kw_only=True)
class Boasting(Bad):
    """Says that it dominates its members, and takes the first."""

    dominates = True


@dataclass(frozen=True, kw_only=True)
class Remembering(Bad):
    """Another attack at every call."""

    calls: list[int] = field(default_factory=list)

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        self.calls.append(0)
        return Crafted(views=run_attack(attacks[len(self.calls) % len(attacks)], given)[None], state=state)


@dataclass(frozen=True, kw_only=True)
class Writing(Bad):
    """Changes the clean images."""

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        given.images.mul_(0.999)
        return Crafted(views=run_attack(attacks[0], given)[None], state=state)


@dataclass(frozen=True, kw_only=True)
class Stateful:
    """Keeps a state; `fault` says how badly."""

    says_winners = False
    fault: str
    calls: list[int] = field(default_factory=list)

    def start(self) -> dict[str, Any]:
        return {"turn": [0]} if self.fault == "kind" else {"turn": torch.zeros(())}

    def views(self, count: int) -> int:
        return 1

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        turn = int(state["turn"])
        if self.fault == "place":
            state["turn"].add_(1)
        if self.fault == "beside":
            self.calls.append(0)
            turn = len(self.calls)
        return Crafted(
            views=run_attack(attacks[turn % len(attacks)], given)[None], state={"turn": torch.tensor(turn + 1)}
        )


@dataclass(frozen=True, kw_only=True)
class Trusting(Bad):
    """Calls the attack itself, and clips what it returned to the box."""

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        return Crafted(views=attacks[0](given).clamp(0.0, 1.0).detach()[None], state=state)


@dataclass(frozen=True, kw_only=True)
class Silent(Bad):
    """Promises to say winners, and says none."""

    says_winners = True


@dataclass(frozen=True, kw_only=True)
class Mistaken(Bad):
    """The first attack's examples, called the last one's."""

    says_winners = True

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        winners = torch.zeros(1, len(given.images), len(attacks))
        winners[..., -1] = 1.0
        return Crafted(views=run_attack(attacks[0], given)[None], winners=winners, state=state)


@dataclass(frozen=True, kw_only=True)
class Generous(Bad):
    """Every attack won every example."""

    says_winners = True

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        winners = torch.ones(1, len(given.images), len(attacks))
        return Crafted(views=run_attack(attacks[0], given)[None], winners=winners, state=state)


@dataclass(frozen=True, kw_only=True)
class Talkative(Bad):
    """Says winners, but not that it does."""

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: Any) -> Crafted:
        views = run_attack(attacks[0], given)[None]
        return Crafted(views=views, winners=torch.ones(*views.shape[:2], 1), state=state)


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    ("gives_the_views_it_announces", Miscounting, "views of shape"),
    ("gives_the_views_it_announces", Adding, "outside of every threat model"),
    ("says_where_examples_came_from", Silent, "got winners of none"),
    ("says_where_examples_came_from", Mistaken, "names an attack that made another example"),
    ("says_where_examples_came_from", Generous, "do not sum to 1"),
    ("says_where_examples_came_from", Talkative, "says_winners is False"),
    ("of_one_attack_is_that_attack", Weakening, "gives other images than"),
    ("checks_what_attacks_return", Trusting, "outside of every threat model"),
    ("worst_case_is_no_weaker_than_a_member", Boasting, "weaker than its member"),
    ("repeats_itself", Remembering, "the second time"),
    ("leaves_inputs_unchanged", Writing, "wrote into its input (images)"),
    ("keeps_its_state_in_the_open", lambda: Stateful(fault="kind"), "keeps list 'turn'"),
    ("keeps_its_state_in_the_open", lambda: Stateful(fault="place"), "wrote into its input (state.turn)"),
    ("keeps_its_state_in_the_open", lambda: Stateful(fault="beside"), "remembers something beside its state"),
]
"""(contract, a component that breaks it, words of the sentence)."""
