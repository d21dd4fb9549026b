"""Objectives and options of first-order attacks."""

import logging
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import matx
from matx.errors import OptionError
from matx.interfaces import FreeObjective, LogitObjective
from matx.losses import kl_divergence
from tests.attacks.first_order import (
    L1,
    L2,
    LINF,
    attack,
    attack_input,
    network,
    pixels,
)


def test_a_supplied_objective_is_maximised() -> None:
    model, images = network(), pixels(20)
    target = torch.full((20, 5), 0.2)

    def away(logits: Tensor, target: Tensor) -> Tensor:
        return -(logits.softmax(-1) - target).square().sum(-1)

    soft = LogitObjective(model, away, {"target": target})
    free = FreeObjective(lambda images, target: away(model(images), target), {"target": target})
    for name in ("pgd", "apgd", "mim"):
        results = []
        for objective in (soft, free):
            given = attack_input(model, images, objective=objective)
            for early_exit in (False, True):
                chosen = attack(name, threat=LINF, steps=5, restarts=2, early_exit=early_exit)
                results.append(chosen(given))
        assert torch.equal(results[0], results[2]), f"{name}: the form of the objective matters"
        assert torch.equal(results[1], results[3]), f"{name}: the form of the objective matters for early exit"
        with torch.no_grad():
            gain = soft(results[0]) - soft(images)
        assert gain.mean() > 0, f"{name} does not maximise the supplied objective"


def test_kl_needs_a_start_off_the_clean_image() -> None:
    model, images = network(), pixels(10)
    given = attack_input(model, images)
    found = attack("pgd", threat=LINF, steps=10, objective="kl", noise=0.001)(given)
    chance = LINF.random_start(images, given.generator)
    gaps = [kl_divergence(model(images), model(x)).mean() for x in (found, chance)]
    assert gaps[0] > 10 * gaps[1], "KL to the clean prediction was not maximised"
    for name in ("pgd", "fgsm", "mim", "apgd"):
        with pytest.raises(OptionError) as caught:
            attack(name, threat=LINF, objective="kl", random_start=False)
        assert "gradient of KL is zero" in str(caught.value), "the refusal does not say why"


def test_noise_start_is_small_and_inside() -> None:
    model, images = network(), pixels(10)
    start = matx.attacks["pgd"](threat=LINF, noise=0.001).init(attack_input(model, images))
    assert 0 < (start - images).abs().max() < 0.01, "the start is not tiny Gaussian noise"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("pgd", {"steps": 0}, "attacks.pgd.steps: got 0"),
        ("pgd", {"restarts": -1}, "attacks.pgd.restarts: got -1"),
        ("pgd", {"keep": "bset"}, "did you mean 'best'"),
        ("pgd", {"step_size": "2/0"}, "attacks.pgd.step_size: got '2/0'"),
        ("pgd", {"step_size": -0.1}, "allowed: a number over 0"),
        ("pgd", {"objective": "crossentropy"}, "did you mean 'cross_entropy'"),
        ("pgd", {"sparsity": 0}, "attacks.pgd.sparsity: got 0"),
        ("pgd", {"noise": -1}, "attacks.pgd.noise: got -1"),
        ("pgd", {"noise": 0.1, "random_start": False}, "with random_start=False"),
        ("fgsm", {"step_size": 0}, "attacks.fgsm.step_size: got 0"),
        ("mim", {"decay": 0}, "attacks.mim.decay: got 0, allowed: over 0"),
        ("pgd_topk", {}, "attacks.pgd_topk.threat: got linf:0.1, allowed: norm l1"),
        ("slide", {}, "attacks.slide.threat: got linf:0.1, allowed: norm l1"),
        ("pgd_topk", {"threat": L1, "lowest": 30}, "attacks.pgd_topk.lowest: got 30, allowed: 1 to highest (20)"),
        ("pgd_topk", {"threat": L1, "gap": 0.5}, "attacks.pgd_topk.gap: got 0.5"),
        ("slide", {"threat": L1, "percentile": 100}, "attacks.slide.percentile: got 100"),
        ("slide", {"threat": L1, "percentile_to": 5}, "attacks.slide.percentile_to: got 5"),
        ("apgd", {"objective": "targetted_dlr"}, "did you mean 'targeted_dlr'"),
        ("apgd", {"eot": 0}, "attacks.apgd.eot: got 0"),
        ("apgd", {"epsilon_schedule": True}, "allowed: False, or l1"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        attack(name, **{"threat": LINF, **options})
    assert said in str(caught.value), f"the message does not say {said!r}: {caught.value}"


def test_short_l1_attacks_warn(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="matx"):
        attack("pgd", threat=L1, steps=9)
        assert "9 steps are few for l1" in caplog.text, "a short l1 attack does not warn"
        caplog.clear()
        attack("pgd", threat=L1, steps=10)
        attack("pgd", threat=L2, steps=1)
        assert caplog.text == "", "an attack that is long enough, or not l1, warns"


@pytest.mark.parametrize("name", ["pgd", "fgsm", "mim", "pgd_topk", "slide", "apgd"])
def test_examples_pickle(name: str, tmp_path: Any) -> None:
    for example in matx.attacks[name].examples(tmp_path):
        assert pickle.loads(pickle.dumps(example)) == example, f"{example} does not survive pickling"
