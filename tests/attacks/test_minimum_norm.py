"""Minimum-norm attacks: distances against closed forms, classes, options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from matx.errors import MatxError, ModelError, OptionError
from matx.interfaces import FreeObjective
from tests.attacks.minimum_norm import (
    NORMS,
    Linear,
    attack_input,
    exact_distances,
    made,
    pixels,
    threat,
)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fab", "fab_t", "deepfool", "cw"])
def test_distances_on_a_linear_model_are_those_of_the_closed_form(name: str, norm: str) -> None:
    if name == "cw" and norm != "l2":
        with pytest.raises(OptionError, match=r"attacks\.cw\.threat"):
            made("cw", threat=threat(norm))
        return
    model, images = Linear(), pixels()
    options: dict[str, dict[str, Any]] = {
        "fab": {"steps": 60}, "fab_t": {"steps": 60, "targets": 2}, "deepfool": {},
        "cw": {"steps": 150, "searches": 5, "constant": 0.1},
    }  # fmt: skip
    attack = made(name.removesuffix("_t"), threat=threat(norm), **options[name])
    given = attack_input(model, images)
    found = attack(given)
    assert bool((model(found).argmax(1) != given.labels).all()), "a linear model was not fooled"
    assert bool(((found >= 0) & (found <= 1)).all()), "the result leaves the box"
    size, exact = attack.threat.size(found - images), exact_distances(model, given, norm)
    assert bool((size >= exact * (1 - 1e-4)).all()), "closer than the boundary is: the distance is measured wrongly"
    assert bool((size < 1.06 * exact + 1e-3).all()), f"further than the closed form: {size} instead of {exact}"


@pytest.mark.parametrize("norm", NORMS)
def test_deepfool_as_published_overshoots_the_boundary_by_two_percent_and_halving_takes_that_back(norm: str) -> None:
    model, images = Linear(), pixels()
    given = attack_input(model, images)
    exact = exact_distances(model, given, norm)
    plain, short = made("deepfool", threat=threat(norm), halvings=0), made("deepfool", threat=threat(norm))
    ratio = plain.threat.size(plain(given) - images) / exact
    assert torch.allclose(ratio, torch.full_like(ratio, 1.02), atol=1e-4), f"one step is not 1.02 distances: {ratio}"
    halved = short.threat.size(short(given) - images) / exact
    assert bool(((halved >= 1 - 1e-4) & (halved < 1.002)).all()), f"bisection does not end at the boundary: {halved}"


@pytest.mark.parametrize("name", ["fab", "deepfool", "cw"])
@pytest.mark.parametrize("classes", [2, 3, 1000])
def test_few_and_many_classes_work(name: str, classes: int) -> None:
    model = Linear(classes=classes)
    given = attack_input(model, pixels(4))
    options: dict[str, Any] = {"steps": 60, "constant": 1.0, "searches": 3} if name == "cw" else {"steps": 15}
    if name == "fab":
        options["candidates"] = 10 if classes == 1000 else 0
    variants = [options, {**options, "targets": 9}] if name == "fab" else [options]
    for chosen in variants:
        found = made(name, threat=threat("l2"), **chosen)(given)
        assert bool((model(found).argmax(1) != given.labels).all()), f"{name} fooled not everybody of {classes} classes"


@pytest.mark.parametrize("name", ["fab", "deepfool", "cw"])
def test_one_class_has_no_boundary_and_a_strategys_objective_no_meaning(name: str) -> None:
    attack = made(name, threat=threat("l2"))
    with pytest.raises(ModelError, match="1 class"):
        attack(attack_input(Linear(classes=1), pixels(2)))
    objective = FreeObjective(lambda images: images.flatten(1).sum(1))
    with pytest.raises(OptionError, match="objective"):
        attack(attack_input(Linear(), pixels(2), objective=objective))


@pytest.mark.parametrize("name", ["fab", "deepfool", "cw"])
def test_what_is_wrong_already_or_cannot_be_fooled_comes_back_clean(name: str) -> None:
    model, images = Linear(), pixels(6)
    given = attack_input(model, images)
    labels = torch.where(torch.arange(6) < 3, (given.labels + 1) % 3, given.labels)
    options: dict[str, Any] = {"steps": 30, "constant": 1.0, "searches": 2} if name == "cw" else {"steps": 5}
    found = made(name, threat=threat("l2"), **options)(replace(given, labels=labels))
    assert torch.equal(found[:3], images[:3]), "a misclassified image was moved, though its distance is 0"
    model.weight.zero_()
    dead = made(name, threat=threat("l2"), **options)(replace(given, labels=torch.zeros_like(labels)))
    assert torch.equal(dead, images), "without any gradient the clean image must come back"


def test_cw_asks_for_a_lead_where_confidence_is_set_and_prefers_the_smaller_weight() -> None:
    model, images = Linear(), pixels()
    given = attack_input(model, images)
    sizes = []
    for confidence in (0.0, 0.2):
        attack = made("cw", threat=threat("l2"), steps=60, searches=3, constant=1.0, confidence=confidence)
        found = attack(given)
        logits = model(found)
        own = logits.gather(1, given.labels[:, None])[:, 0]
        lead = logits.scatter(1, given.labels[:, None], -torch.inf).amax(1) - own
        moved = attack.threat.size(found - images) > 0
        assert bool(moved.any()), "cw found nothing on a linear model"
        assert bool((lead[moved] >= confidence - 1e-4).all()), "an example does not lead by the confidence"
        sizes.append(attack.threat.size(found - images))
    both = (sizes[0] > 0) & (sizes[1] > 0)
    assert bool((sizes[0][both] < sizes[1][both]).all()), (
        "a lead costs no distance, so the search is not at its minimum"
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fab", {"steps": 0}), ("fab", {"targets": -1}), ("fab", {"beta": 2.0}), ("fab", {"eta": 0.5}),
        ("deepfool", {"steps": 0}), ("deepfool", {"overshoot": -0.1}), ("deepfool", {"halvings": -1}),
        ("cw", {"searches": 0}), ("cw", {"constant": 0.0}), ("cw", {"confidence": -1.0}),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(name: str, options: dict[str, Any]) -> None:
    (option,) = options
    with pytest.raises(MatxError, match=rf"attacks\.{name}\.{option}: got .*allowed"):
        made(name, threat=threat("l2"), **options)
