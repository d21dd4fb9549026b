"""What strategies let attacks maximise, on small linear models in float64: values, gradients, and choice of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import matx
from matx.interfaces import AttackInput, Model, Objective, value_and_gradient
from matx.losses import cross_entropy, kl_divergence
from matx.randomness import SampleGenerator
from tests.strategies.tables import LABELS

SHAPE, CLASSES = (1, 2, 3), 4


def linear(seed: int) -> Model:
    weight = torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3.0
    return lambda images: images.flatten(1) @ weight


MODELS: Mapping[str, Model] = {name: linear(seed) for seed, name in enumerate(["me", "you", "third"])}
CLEAN = torch.rand(len(LABELS), *SHAPE, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
MOVED = torch.rand(len(LABELS), *SHAPE, generator=torch.Generator().manual_seed(10), dtype=torch.float64)


def attack_input() -> AttackInput:
    indices = torch.arange(len(LABELS))
    return AttackInput(model=MODELS["me"], images=CLEAN, labels=LABELS, generator=SampleGenerator(0, indices))


def me(images: Tensor) -> Tensor:
    return MODELS["me"](images)


def you(images: Tensor) -> Tensor:
    return MODELS["you"](images)


def kl(target: Tensor, found: Tensor) -> Tensor:
    return kl_divergence(target, found)


def pair(x: Tensor) -> Tensor:
    return kl(me(x), you(CLEAN)) + kl(you(CLEAN), me(x))


def crowd(x: Tensor) -> Tensor:
    third = MODELS["third"](CLEAN)
    return pair(x) + kl(me(x), third) + kl(third, me(x))


CASES: list[tuple[str, dict[str, Any], tuple[str, ...], Callable[[Tensor], Tensor]]] = [
    ("trades", {}, (), lambda x: kl(me(CLEAN), me(x))),
    ("lbgat", {"robust": "me", "natural": "you"}, (), lambda x: kl(me(CLEAN), me(x))),
    ("cat", {"trades": "me", "pairing": "you"}, (), lambda x: kl(me(CLEAN), me(x))),
    ("d2r", {"robust": "me", "natural": "you"}, ("you",), lambda x: kl(you(CLEAN), me(x))),
    ("peeraid", {"student": "me", "peer": "you"}, ("you",), lambda x: kl(you(CLEAN), me(x))),
    ("rslad", {"teacher": "you"}, ("you",), lambda x: kl(you(CLEAN), me(x))),
    ("adaad", {"teacher": "you"}, ("you",), lambda x: kl(you(x), me(x))),
    ("iad", {"teacher": "you", "adaptive": True}, ("you",), lambda x: kl(you(x), me(x))),
    (
        "act",
        {"robust": "me", "natural": "you", "alpha": 0.7},
        ("you",),
        lambda x: 0.3 * cross_entropy(me(x), LABELS) + 0.7 * kl(you(CLEAN), me(x)),
    ),
    ("agree", {"weight": 0.5}, ("you",), lambda x: cross_entropy(me(x), LABELS) + 0.5 * pair(x)),
    ("agree", {"weight": 2.0}, ("you", "third"), lambda x: cross_entropy(me(x), LABELS) + 2.0 * crowd(x)),
]


@pytest.mark.parametrize(("name", "options", "others", "formula"), CASES, ids=[f"{c[0]}-{len(c[2])}" for c in CASES])
def test_objective_is_the_published_one(
    name: str, options: dict[str, Any], others: tuple[str, ...], formula: Callable[[Tensor], Tensor]
) -> None:
    strategy: Any = matx.strategies[name](**options)
    objective: Objective = strategy.objective("me", attack_input(), {n: MODELS[n] for n in ("me", *others)})
    values, gradient = value_and_gradient(objective, MOVED)
    torch.testing.assert_close(values, formula(MOVED), rtol=1e-12, atol=1e-12)
    step = 1e-6
    for index in range(MOVED[0].numel()):
        probe = torch.zeros_like(MOVED).flatten(1)
        probe[:, index] = step
        probe = probe.reshape(MOVED.shape)
        slope = (formula(MOVED + probe) - formula(MOVED - probe)) / (2 * step)
        torch.testing.assert_close(gradient.flatten(1)[:, index], slope, rtol=1e-6, atol=1e-7)
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(objective.select(rows)(MOVED[rows]), values[rows], rtol=1e-12, atol=1e-12)


def test_every_objective_is_tested_here() -> None:
    built_in = [n for n in matx.strategies if matx.strategies[n].__module__.startswith("registry.")]
    supplying = {n for n in built_in if hasattr(matx.strategies[n], "objective")}
    assert supplying == {case[0] for case in CASES}, "a strategy that supplies an objective has a case above"


def test_the_attack_maximises_its_own_where_told() -> None:
    for name in {case[0] for case in CASES}:
        told = [s for s in matx.strategies[name].examples(Path()) if getattr(s, "crafting", "") == "attack"]
        assert told, f"{name} has an example whose attacks maximise their own objective"
        assert all(not s.needs(peers).craft for s in told for peers in s.example_peers()), "then it supplies none"
