"""Contracts of unions, tried with small attacks of this file's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from matx.interfaces import OBJECTIVES, Attack, AttackInput, FirstOrderAttack, PerturbationUnion, value_and_gradient
from matx.testing.trial import Trial, inside, require, standard_trial
from matx.threat import Norm, ThreatModel

__all__ = [
    "CONTRACTS",
    "Ascent",
    "Overshoot",
    "checks_what_attacks_return",
    "gives_the_views_it_announces",
    "keeps_its_state_in_the_open",
    "leaves_inputs_unchanged",
    "of_one_attack_is_that_attack",
    "repeats_itself",
    "says_where_examples_came_from",
    "worst_case_is_no_weaker_than_a_member",
]


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """A few first-order steps from a random point: what the unions are given."""

    kind: ClassVar[Literal["maximise", "minimum_norm"]] = "maximise"
    threat: ThreatModel
    steps: int = 3
    objective: str = "cross_entropy"
    step_size: float | None = None

    def __call__(self, given: AttackInput) -> Tensor:
        images, objective = self.init(given), given.objective_for(self.objective)
        for iteration in range(self.steps):
            _, gradient = value_and_gradient(objective, images)
            images = self.step(given, images, gradient, iteration)
        return images

    def init(self, given: AttackInput) -> Tensor:
        """A random point of the set."""
        return self.threat.random_start(given.images, given.generator.at("start"))

    def step(self, given: AttackInput, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        """One step along the steepest direction, projected."""
        length = self.threat.radius / 2 if self.step_size is None else self.step_size
        return self.threat.project(images + length * self.threat.steepest(gradient), given.images)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """One for each norm."""
        radii: dict[Norm, float | str] = {"linf": "8/255", "l2": 0.4, "l1": 2.0}
        return [cls(threat=ThreatModel(norm=norm, eps=eps)) for norm, eps in radii.items()]


ATTACKS: tuple[Attack, ...] = tuple(Ascent.examples(Path()))
"""One attack for each norm."""


@dataclass(frozen=True, kw_only=True)
class Overshoot:
    """An attack that leaves its threat model, as an attack from elsewhere may."""

    kind: ClassVar[Literal["maximise", "minimum_norm"]] = "maximise"
    threat: ThreatModel

    def __call__(self, given: AttackInput) -> Tensor:
        return given.images + 1.0

    def init(self, given: AttackInput) -> Tensor:
        """The clean images."""
        return given.images

    def step(self, given: AttackInput, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        """One step out of the threat model."""
        return images + 1.0

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """In l_inf."""
        return [cls(threat=ThreatModel(norm="linf", eps="8/255"))]


def gives_the_views_it_announces(union: PerturbationUnion) -> None:
    """(views(count), N, C, H, W), finite and detached, every image inside one of the threat models."""
    trial = standard_trial()
    for attacks in (ATTACKS, ATTACKS[:2], ATTACKS[1:2]):
        views = trial.crafted(attacks, union).views
        expected = (union.views(len(attacks)), *trial.images.shape)
        require(tuple(views.shape) == expected, f"{union!r} gave views of shape {tuple(views.shape)}, not {expected}")
        require(union.views(len(attacks)) >= 1, f"{union!r} announces no view of {len(attacks)} attacks")
        require(bool(views.isfinite().all()), f"{union!r} gave images that are not finite")
        require(not views.requires_grad, f"{union!r} gave images with a graph")
        for view in views:
            members = torch.stack([attack.threat.contains(view, trial.images) for attack in attacks])
            require(bool(members.any(0).all()), f"{union!r} gave an image outside every threat model of its attacks")
    one = trial.rows(torch.tensor([0]))
    require(one.crafted(ATTACKS, union).views.shape[1] == 1, f"{union!r} does not take a batch of one image")


def says_where_examples_came_from(union: PerturbationUnion) -> None:
    """With says_winners: shares that sum to 1, of attacks in whose threat models the example lies; else none at all."""
    trial = standard_trial()
    for attacks in (ATTACKS, ATTACKS[:2], ATTACKS[1:2]):
        crafted = trial.crafted(attacks, union)
        if not union.says_winners:
            require(crafted.winners is None, f"{union!r} says winners, but its says_winners is False")
            continue
        winners = crafted.winners
        assert winners is not None, "crafting refuses a union that says none against its word"
        require(bool((winners >= 0).all()), f"{union!r} gives an attack a negative share in an example")
        made = [trial.examples(attack) for attack in attacks]
        for view, shares in zip(crafted.views, winners, strict=True):
            sole = shares == 1.0
            for position, images in enumerate(made):
                same = torch.isclose(view, images, rtol=0.0, atol=1e-5).flatten(1).all(1)
                require(bool(same[sole[:, position]].all()), f"{union!r} names an attack that made another example")


def of_one_attack_is_that_attack(union: PerturbationUnion) -> None:
    """A union of one attack gives that attack's result, in every view."""
    trial = standard_trial()
    for attack in ATTACKS:
        expected = trial.examples(attack)
        for view in trial.crafted([attack], union).views:
            require(
                bool(torch.isclose(view, expected, rtol=0.0, atol=1e-5).all())
                or _as_good(trial, attack, view, expected),
                f"{union!r} of one attack gives other images than {attack!r}",
            )


def checks_what_attacks_return(union: PerturbationUnion) -> None:
    """It runs attacks by `run_attack`: examples outside a threat model are projected before the union sees them."""
    trial = standard_trial()
    (attack,) = Overshoot.examples(Path())
    checked = trial.examples(attack)
    for view in trial.crafted([attack], union).views:
        require(
            torch.equal(view, checked), f"{union!r} uses an attack's images unchecked: call run_attack(attack, given)"
        )


def _as_good(trial: Trial, attack: Attack, view: Tensor, expected: Tensor) -> bool:
    """A union that drives first-order steps itself may search longer: inside, and nowhere lower than the attack."""
    if not isinstance(attack, FirstOrderAttack) or not inside(attack.threat, view, trial.images):
        return False
    here, there = (_values(trial, images) for images in (view, expected))
    return bool((here >= there - 1e-5).all())


def worst_case_is_no_weaker_than_a_member(union: PerturbationUnion) -> None:
    """A union with `dominates = True` is, sample by sample, nowhere lower than any of its attacks on its objective."""
    if not getattr(union, "dominates", False):
        return
    trial = standard_trial(count=12)
    name = getattr(union, "objective", "cross_entropy")
    worst = _values(trial, trial.crafted(ATTACKS, union).views[0], name)
    fooled = trial.margins(trial.crafted(ATTACKS, union).views[0]) > 0
    for attack in ATTACKS:
        images = trial.examples(attack)
        lower = worst < _values(trial, images, name) - 1e-5
        excused = fooled & ~(trial.margins(images) > 0) & bool(getattr(union, "misclassified_first", False))
        require(not bool((lower & ~excused).any()), f"{union!r} is weaker than its member {attack!r} on some sample")


def _values(trial: Trial, images: Tensor, objective: str = "cross_entropy") -> Tensor:
    with trial.given() as given, torch.no_grad():
        return given.objective_for(objective if objective in OBJECTIVES else "cross_entropy")(images)


def repeats_itself(union: PerturbationUnion) -> None:
    """The same given, attacks and state give the same views, whatever the global generators hold."""
    trial = standard_trial()
    first, second = trial.crafted(ATTACKS, union), replace(trial, noise=1).crafted(ATTACKS, union)
    require(
        torch.equal(first.views, second.views),
        f"{union!r} gave other views the second time: draw from given.generator only, and keep memory in the state",
    )


def leaves_inputs_unchanged(union: PerturbationUnion) -> None:
    """Images and labels are after the call what they were before: craft refuses it otherwise."""
    standard_trial().crafted(ATTACKS, union)


def keeps_its_state_in_the_open(union: PerturbationUnion) -> None:
    """The state is tensors and numbers, passed in, never changed in place (craft refuses it), returned anew."""
    trial = standard_trial()
    state = union.start()
    _check_state(union, state)
    for _ in range(3):
        before = {name: _copied(value) for name, value in state.items()}
        crafted = trial.crafted(ATTACKS, union, state)
        again = trial.crafted(ATTACKS, union, {name: _copied(value) for name, value in before.items()})
        require(torch.equal(crafted.views, again.views), f"{union!r} remembers something beside its state")
        _check_state(union, crafted.state)
        state = crafted.state


def _copied(value: Tensor | float) -> Tensor | float:
    return value.clone() if isinstance(value, Tensor) else value


def _check_state(component: object, state: Any) -> None:
    for name, value in dict(state).items():
        require(
            isinstance(value, Tensor | int | float),
            f"{component!r} keeps {type(value).__name__} {name!r} in its state, allowed: tensors and numbers",
        )


CONTRACTS: tuple[Callable[[Any], None], ...] = (
    gives_the_views_it_announces,
    says_where_examples_came_from,
    of_one_attack_is_that_attack,
    checks_what_attacks_return,
    worst_case_is_no_weaker_than_a_member,
    repeats_itself,
    leaves_inputs_unchanged,
    keeps_its_state_in_the_open,
)
"""The contracts of this file."""
