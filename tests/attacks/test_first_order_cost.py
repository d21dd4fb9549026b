"""What first-order attacks cost, and what early exit, batches and order must not change."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import matx
from matx.randomness import SampleGenerator
from tests.attacks.first_order import L1, LINF, THREATS, Watched, attack, attack_input, flags, network, pixels


@pytest.mark.parametrize(
    ("options", "forwards"),
    [
        ({"keep": "last"}, 6),
        ({"keep": "best"}, 7),
        ({"keep": "last", "restarts": 2}, 14),
        ({"keep": "best", "objective": "kl"}, 8),
    ],
)
def test_no_forward_is_wasted(options: dict[str, Any], forwards: int) -> None:
    model = Watched(network())
    attack("pgd", threat=LINF, steps=6, **options)(attack_input(model, pixels(4)))
    assert len(model.shown) == forwards, f"{options} cost {len(model.shown)} forwards"


@THREATS
@pytest.mark.parametrize("name", ["pgd", "apgd"])
def test_early_exit_changes_work_not_flags(name: str, threat: matx.ThreatModel) -> None:
    model, images = Watched(network()), pixels(60)
    given = attack_input(model, images)
    plain = attack(name, threat=threat, steps=10, random_start=False)
    early = attack(name, threat=threat, steps=10, random_start=False, early_exit=True)
    full = plain(given)
    visited = torch.stack([flags(model.inner, x, given.labels) for x in model.shown])
    model.shown.clear()
    found = early(given)
    wrong = flags(model.inner, found, given.labels)
    assert torch.equal(wrong, visited.any(0)), "early exit does not find exactly what the whole search meets"
    assert (wrong | ~flags(model.inner, full, given.labels)).all(), "early exit lost a sample"
    assert torch.allclose(found[~wrong], full[~wrong], atol=1e-5), "robust samples depend on those that left"
    assert 0 < wrong.float().mean() < 1, "the case shows nothing: all stand, or none"
    assert sum(map(len, model.shown)) < 11 * 60, "the batch did not shrink"
    assert found.shape == images.shape, "the shape is not kept"


def test_searches_that_repeat_themselves_end() -> None:
    """A sample that comes back to an iterate has met them all: it costs no more forwards, and nothing else changes."""
    model, images = Watched(network()), pixels(60)
    given = attack_input(model, images)
    options: dict[str, Any] = {"threat": LINF, "steps": 100, "step_size": 0.025, "random_start": False}
    full = attack("pgd", **options)(given)
    robust = ~torch.stack([flags(model.inner, x, given.labels) for x in model.shown]).any(0)
    model.shown.clear()
    found = attack("pgd", early_exit=True, **options)(given)
    assert robust.sum() > 5, "the case shows nothing: everything is misclassified"
    assert torch.allclose(found[robust], full[robust], atol=1e-5), "ending early changed the result"
    assert sum(map(len, model.shown)) < 0.5 * 100 * int(robust.sum()), "searches that repeat themselves went on"
    model.shown.clear()
    attack("mim", early_exit=True, threat=LINF, steps=100, step_size=0.025)(given)
    assert sum(map(len, model.shown)) >= 100 * 5, "momentum is a memory: a repeated image is no repeated search"


@pytest.mark.parametrize("name", ["pgd", "apgd", "mim", "pgd_topk", "slide", "fgsm"])
def test_batch_size_and_order_change_nothing(name: str) -> None:
    model, images = network(), pixels(24)
    given = attack_input(model, images)
    options: dict[str, Any] = {} if name == "fgsm" else {"steps": 10, "restarts": 2}
    chosen = attack(name, threat=L1, random_start=True, **options)
    whole = chosen(given)
    rows = torch.tensor([20, 3, 7])
    part = chosen(given.select(rows))
    assert torch.allclose(part, whole[rows], atol=1e-5), "a sample's example depends on its batch"
    again = chosen(given)
    assert torch.equal(again, whole), "the same call gives another result"
    other = chosen(replace(given, generator=SampleGenerator(2, torch.arange(24))))
    assert not torch.equal(other, whole), "the key of the generator does nothing"


def test_nothing_of_the_model_is_touched() -> None:
    model = network().requires_grad_(True)
    given = attack_input(model, pixels(6))
    with torch.no_grad():
        found = attack("pgd", threat=LINF, steps=3)(given)
    assert not found.requires_grad, "the example keeps a graph"
    assert all(p.grad is None for p in model.parameters()), "an attack wrote gradients of parameters (D2)"
    assert not given.images.requires_grad, "the clean images were made to require gradients"
