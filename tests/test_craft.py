"""Craft leaves the model as it was, and what attacks return is checked, whatever it is."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from matx.craft import Passes, attackable, craft, forked
from matx.errors import ModelError
from matx.exchange import Crafted, State
from matx.interfaces import AttackInput, PerturbationUnion, checked_examples, value_and_gradient
from matx.randomness import SampleGenerator
from matx.threat import ThreatModel

LINF = ThreatModel(norm="linf", eps=0.1)


@dataclass(frozen=True)
class Returns:
    """An attack that returns what a function makes of the clean images."""

    make: Callable[[Tensor], Tensor]
    kind: ClassVar[Literal["maximise"]] = "maximise"
    threat: ThreatModel = LINF

    def __call__(self, given: AttackInput) -> Tensor:
        return self.make(given.images)


@dataclass(frozen=True)
class Nearest(Returns):
    kind: ClassVar[Any] = "minimum_norm"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


def goal_on(model: Any, count: int = 6) -> AttackInput:
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(count) % 3
    return AttackInput(model=model, images=images, labels=labels, generator=SampleGenerator(0, torch.arange(count)))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_model_is_left_bit_for_bit(mode: str) -> None:
    module = network().train()
    module[1].eval()  # a part that its user froze in eval mode stays so
    module[0].bias.requires_grad_(False)
    module(torch.rand(4, 1, 8, 8)).sum().backward()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    buffers = {name: id(value) for name, value in module.named_buffers()}
    gradients = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
    modes = [part.training for part in module.modules()]
    wanted = [p.requires_grad for p in module.parameters()]
    with attackable(module, mode=mode) as model:
        given = goal_on(model)
        assert [part.training for part in module.modules()] == [mode == "train"] * 6, "the attack mode is not set"
        _, gradient = value_and_gradient(given.objective_for("cross_entropy"), given.images)
        assert gradient.abs().sum() > 0, "the model is not differentiable in its images"
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items()), "weights or statistics"
    assert buffers == {name: id(value) for name, value in module.named_buffers()}, "buffers were replaced"
    assert modes == [part.training for part in module.modules()], "modes per module"
    assert wanted == [p.requires_grad for p in module.parameters()], "requires_grad"
    after = [p.grad for p in module.parameters()]
    assert all(
        (a is None) == (b is None) and (a is None or torch.equal(a, b)) for a, b in zip(gradients, after, strict=True)
    ), ".grad"


def test_passes_are_counted_per_image_also_for_a_stranger_s_backward() -> None:
    passes = Passes()
    with attackable(network(), passes=passes) as model:
        given = goal_on(model, 5)
        value_and_gradient(given.objective_for("margin"), given.images)
        images = given.images.clone().requires_grad_()
        model(images).sum().backward()
        with torch.no_grad():
            model(given.images)
    assert vars(passes) == {"forward": 15, "backward_input": 10, "backward_weights": 0}


def test_results_are_checked_against_the_threat_model() -> None:
    given = goal_on(network())
    far = checked_examples(Returns(lambda x: x + 1.0), given.images + 1.0, given)
    assert LINF.contains(far, given.images).all(), "a maximising attack that leaves the set is not projected"
    assert float((far - given.images).abs().max()) == pytest.approx(0.1, abs=1e-6), "projection gave the clean image"
    inside = given.images.clone()
    inside[0] = (inside[0] + 0.05).clamp(0, 1)
    mixed = inside.clone()
    mixed[1] = (mixed[1] + 0.5).clamp(0, 1)
    nearest = checked_examples(Nearest(lambda x: x), mixed, given)
    assert torch.equal(nearest[0], inside[0]), "an example inside is changed"
    assert torch.equal(nearest[1], given.images[1]), "an example outside counts for a minimum-norm attack"
    with pytest.raises(ModelError, match="1 of 6 images are not finite"):
        checked_examples(Returns(lambda x: x), given.images.index_fill(0, torch.tensor([2]), torch.nan), given)
    with pytest.raises(ModelError, match=r"of shape \(6, 1, 4, 8\)"):
        checked_examples(Returns(lambda x: x), given.images[:, :, :4], given)
    tracked = (given.images * torch.ones(1, requires_grad=True)).clamp(0, 1)
    assert not checked_examples(Returns(lambda x: x), tracked, given).requires_grad, "the graph of an attack leaks"


def test_an_attack_that_changes_torch_s_default_type_is_named_and_the_type_put_back() -> None:
    def make(images: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        return images

    with attackable(network()) as model, pytest.raises(ModelError, match=r"Returns.*: changed torch's default type to"):
        craft(goal_on(model), [Returns(make)], None)
    assert torch.get_default_dtype() is torch.float32, "what comes after computes in another type"


def test_a_union_that_leaves_every_threat_model_is_an_error() -> None:
    class Wild(PerturbationUnion):
        says_winners = False

        def start(self) -> State:
            return {}

        def views(self, count: int) -> int:
            return 1

        def __call__(self, attacks: Any, given: AttackInput, state: State) -> Crafted:
            return Crafted(views=(1.0 - given.images)[None], state=state)

    with pytest.raises(ModelError, match="outside of every threat model"):
        craft(goal_on(network()), [Returns(lambda x: x)], Wild())


def test_forked_generators_are_seeded_and_put_back() -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()

    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    expected = [draw(), draw()]
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    found = [draw()]
    with forked(7):
        first = draw()
    with forked(7):
        second = draw()
    found.append(draw())
    assert found == expected, "the caller's generators moved"
    assert first == second, "the same seed drew something else"


def test_memory_stays_flat_over_many_calls() -> None:
    """Calls leave no tensors behind, and returned examples keep no graph."""
    attack = Returns(lambda x: (x + 0.01).clamp(0, 1))

    def live() -> int:
        gc.collect()
        return sum(type(thing) is Tensor for thing in gc.get_objects())

    with attackable(network()) as model:
        given = goal_on(model)
        views = craft(given, [attack], None).views
        before = live()
        for _ in range(50):
            views = craft(given, [attack], None).views
        left = live() - before
        assert left < 50, f"50 calls left {left} tensors behind"  # fewer than one each: other tests' may come and go
    assert views.grad_fn is None, "returned examples keep their graph"
