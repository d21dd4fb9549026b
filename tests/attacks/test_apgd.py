"""APGD: published checkpoints and radii, few and many classes, a random model."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch

import matx
from matx.errors import OptionError
from registry.attacks._apgd import AscentOptions, _checkpoints
from tests.attacks.first_order import L1, LINF, THREATS, Watched, attack, attack_input, flags, loss, network, pixels


def test_apgd_checkpoints_are_the_published_ones() -> None:
    run = AscentOptions(threat=LINF, steps=100, sparsity=0.2, warm=False, flag_wrong=False, early_exit=False)
    assert list(_checkpoints(run)) == [22, 41, 57, 70, 80, 87, 93, 99], "the windows are not 22 % shrinking by 3 to 6 %"
    assert list(_checkpoints(replace(run, threat=L1)))[:3] == [4, 8, 12], "l1 looks every 4 % of the steps"
    assert list(_checkpoints(replace(run, steps=1))) == [1], "one step has one window"


def test_apgd_epsilon_schedule_is_three_two_one() -> None:
    balls = attack("apgd", threat=L1, epsilon_schedule=True)._balls()
    assert [steps for _, steps in balls] == [30, 30, 40], "30, 30 and 40 % of the steps"
    assert [ball.exact for ball, _ in balls] == [Fraction("4.5"), 3, Fraction("1.5")], "radii 3, 2 and 1 eps, exactly"


@THREATS
@pytest.mark.parametrize("objective", ["cross_entropy", "dlr", "targeted_dlr"])
def test_apgd_is_no_weaker_than_pgd(threat: matx.ThreatModel, objective: str) -> None:
    model, images = network(), pixels(150)
    given = attack_input(model, images)
    schedule: dict[str, Any] = {"epsilon_schedule": True} if threat.norm == "l1" else {}
    schedule |= {"targets": 2} if objective == "targeted_dlr" else {}
    small = replace(threat, eps=threat.radius / 2)
    found = attack("apgd", threat=small, steps=40, objective=objective, early_exit=True, **schedule)(given)
    plain = attack("pgd", threat=small, steps=40, early_exit=True)(given)
    assert small.contains(found, images).all(), "an example lies outside"
    mine, theirs = flags(model, found, given.labels).float().mean(), flags(model, plain, given.labels).float().mean()
    assert mine >= theirs - 0.02, f"apgd fools {mine:.3f}, pgd {theirs:.3f} of the samples"


def test_apgd_for_training_returns_the_highest_iterate() -> None:
    model, images = Watched(network()), pixels(30)
    given = attack_input(model, images)
    found = attack("apgd", threat=LINF, steps=10, random_start=False)(given)
    losses = torch.stack([loss(model.inner, x, given.labels) for x in model.shown])
    assert len(model.shown) == 11, "ten steps cost eleven forwards"
    assert torch.allclose(loss(model.inner, found, given.labels), losses.amax(0), atol=1e-5), "not the highest iterate"


@pytest.mark.parametrize("classes", [2, 3, 4, 300])
def test_few_and_many_classes(classes: int) -> None:
    model, images = network(classes=classes), pixels(10)
    given = attack_input(model, images)
    targeted = attack("apgd", threat=LINF, steps=4, objective="targeted_dlr", targets=9)
    if classes >= 4:
        assert targeted(given).shape == images.shape, "enough classes, and yet no examples"
        return
    with pytest.raises(OptionError) as caught:
        targeted(given)
    assert f"got {classes} classes, allowed: at least 4" in str(caught.value), "the refusal does not name the number"
    assert attack("apgd", threat=LINF, steps=4, objective="margin")(given).shape == images.shape, "margin always works"


def test_apgd_averages_over_a_random_model() -> None:
    model = Watched(network())
    attack("apgd", threat=LINF, steps=3, eot=4)(attack_input(model, pixels(4)))
    assert len(model.shown) == 16, "four forwards for each of four looks"
