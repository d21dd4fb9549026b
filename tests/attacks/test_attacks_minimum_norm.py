"""fab, deepfool and cw against closed forms and an independent solver, and the projection that the first two share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

import matx
from matx.errors import MatxError, ModelError, OptionError
from matx.interfaces import Attack, FreeObjective
from matx.randomness import SampleGenerator
from registry.attacks._boundary import nearest_plane, onto_plane

NORMS = ("linf", "l2", "l1")
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}


def made(name: str, **options: Any) -> Attack:
    component: Any = matx.attacks[name]
    attack: Attack = component(**options)
    return attack


def threat(norm: str, eps: float = 0.05) -> matx.ThreatModel:
    return matx.ThreatModel(norm=norm, eps=eps)


class Linear(nn.Module):
    """z = W x + b on flat images, in which every distance has a closed form."""

    def __init__(self, classes: int = 3, entries: int = 12, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("weight", torch.randn(classes, entries, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = (images.flatten(1) - 0.5) @ self.weight.T
        return logits


def network(classes: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 24), nn.SiLU(), nn.Linear(24, classes))
    with torch.no_grad():
        model[1].weight.mul_(4.0)
    return model.requires_grad_(False).eval()


def pixels(count: int = 8, seed: int = 1, low: float = 0.3, high: float = 0.7) -> Tensor:
    return low + (high - low) * torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(seed))


def goal_for(model: nn.Module, images: Tensor, **more: Any) -> matx.AttackInput:
    labels = model(images).argmax(1)
    draws = SampleGenerator(3, torch.arange(len(images)))
    return matx.AttackInput(model=model, images=images, labels=labels, generator=draws, **more)


def exact_distances(model: Linear, given: matx.AttackInput, norm: str) -> Tensor:
    """(N,): |gap| / ||w||_dual of the nearest class (the box is far away)."""
    logits = model(given.images)
    dual = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}[norm]
    distances = []
    for logit, label in zip(logits, given.labels, strict=True):
        others = [k for k in range(len(logit)) if k != label]
        distances.append(
            min(
                float((logit[label] - logit[k]) / torch.linalg.vector_norm(model.weight[label] - model.weight[k], dual))
                for k in others
            )
        )
    return torch.tensor(distances, dtype=torch.float64)


def oracle(norm: str, x: np.ndarray, w: np.ndarray, c: float) -> float:
    """The length of the smallest delta with w . delta = c and x + delta in [0,1], by a linear program or by SLSQP."""
    d = len(x)
    if norm == "linf":
        ball = np.block([[np.eye(d), -np.ones((d, 1))], [-np.eye(d), -np.ones((d, 1))]])
        box = [(-a, 1 - a) for a in x] + [(0, None)]
        found = linprog(
            np.r_[np.zeros(d), 1], A_ub=ball, b_ub=np.zeros(2 * d), A_eq=[np.r_[w, 0]], b_eq=[c], bounds=box
        )
        return float(found.fun)
    if norm == "l1":
        box = [(0, 1 - a) for a in x] + [(0, a) for a in x]
        return float(linprog(np.ones(2 * d), A_eq=[np.r_[w, -w]], b_eq=[c], bounds=box).fun)
    plane = {"type": "eq", "fun": lambda v: w @ v - c, "jac": lambda v: w}
    box = [(-a, 1 - a) for a in x]
    options = {"ftol": 1e-14, "maxiter": 500}
    solved = minimize(
        lambda v: v @ v,
        np.zeros(d),
        jac=lambda v: 2 * v,
        bounds=box,
        constraints=[plane],
        method="SLSQP",
        options=options,
    )
    return float(np.sqrt(solved.fun))


@pytest.mark.parametrize("norm", NORMS)
def test_the_projection_is_as_short_as_an_independent_solver_makes_it(norm: str) -> None:
    torch.manual_seed(0)
    points, normals = torch.rand(60, 7), torch.randn(60, 7)
    points[:20] = (points[:20] * 3).round() / 3
    normals[:10, 0] = 0.0
    needs = torch.randn(60) * 0.5 * normals.abs().sum(1)
    deltas = onto_plane(norm, points, normals, needs)
    moved = points + deltas
    assert bool(((moved >= -1e-6) & (moved <= 1 + 1e-6)).all()), "the projection leaves the box"
    within = 0
    for x, w, c, delta in zip(*(t.double().numpy() for t in (points, normals, needs, deltas)), strict=True):
        reach = np.where(np.sign(c) * w > 0, 1 - x, x) @ abs(w)
        if reach <= abs(c):
            assert w @ delta == pytest.approx(np.sign(c) * reach, abs=1e-5), "out of reach, but not in the corner"
            continue
        within += 1
        assert w @ delta == pytest.approx(c, abs=1e-5), "the projection misses the plane"
        shortest = oracle(norm, x, w, c)
        assert np.linalg.norm(delta, ORDER[norm]) == pytest.approx(shortest, abs=1e-5), "a shorter step exists"
    assert 20 < within < 60, "the cases do not cover both planes inside and planes outside of the box"


@pytest.mark.parametrize("norm", NORMS)
def test_the_projection_stays_finite_where_the_plane_is_degenerate(norm: str) -> None:
    points = torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.2, 0.2, 0.2]])
    normals = torch.tensor([[0.0, 0.0, 0.0], [-1.0, -1.0, -1.0], [1e-20, 1e-25, 0.0], [1e20, 1.0, -1.0]])
    deltas = onto_plane(norm, points, normals, torch.tensor([1.0, 2.0, 1e-3, 1e19]))
    assert bool(deltas.isfinite().all()), "a degenerate plane gave infinite or undefined entries"
    assert bool((deltas[:2] == 0).all()), "a zero normal, or a box that leaves no room, must leave the point"
    nothing = onto_plane(norm, points, torch.ones(4, 3), torch.zeros(4))
    assert bool((nothing == 0).all()), "a point on the plane must stay"


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
    given = goal_for(model, images)
    found = attack(given)
    assert bool((model(found).argmax(1) != given.labels).all()), "a linear model was not fooled"
    assert bool(((found >= 0) & (found <= 1)).all()), "the result leaves the box"
    size, exact = attack.threat.size(found - images), exact_distances(model, given, norm)
    assert bool((size >= exact * (1 - 1e-4)).all()), "closer than the boundary is: the distance is measured wrongly"
    assert bool((size < 1.06 * exact + 1e-3).all()), f"further than the closed form: {size} instead of {exact}"


@pytest.mark.parametrize("norm", NORMS)
def test_deepfool_as_published_overshoots_the_boundary_by_two_percent_and_halving_takes_that_back(norm: str) -> None:
    model, images = Linear(), pixels()
    given = goal_for(model, images)
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
    given = goal_for(model, pixels(4))
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
        attack(goal_for(Linear(classes=1), pixels(2)))
    objective = FreeObjective(lambda images: images.flatten(1).sum(1))
    with pytest.raises(OptionError, match="objective"):
        attack(goal_for(Linear(), pixels(2), objective=objective))


@pytest.mark.parametrize("name", ["fab", "deepfool", "cw"])
def test_what_is_wrong_already_or_cannot_be_fooled_comes_back_clean(name: str) -> None:
    model, images = Linear(), pixels(6)
    given = goal_for(model, images)
    labels = torch.where(torch.arange(6) < 3, (given.labels + 1) % 3, given.labels)
    options: dict[str, Any] = {"steps": 30, "constant": 1.0, "searches": 2} if name == "cw" else {"steps": 5}
    found = made(name, threat=threat("l2"), **options)(replace(given, labels=labels))
    assert torch.equal(found[:3], images[:3]), "a misclassified image was moved, though its distance is 0"
    model.weight.zero_()
    dead = made(name, threat=threat("l2"), **options)(replace(given, labels=torch.zeros_like(labels)))
    assert torch.equal(dead, images), "without any gradient the clean image must come back"


@pytest.mark.parametrize("norm", NORMS)
def test_fab_does_not_depend_on_batch_or_rows(norm: str) -> None:
    model, images = network(), pixels(6, low=0.0, high=1.0)
    given = goal_for(model, images)
    for stop in (False, True):
        attack = made("fab", threat=threat(norm, 0.2), steps=5, targets=3, restarts=2, stop_inside=stop)
        whole = attack(given)
        few: Any = attack
        assert torch.allclose(replace(few, rows=4)(given), whole, atol=1e-5), "`rows` changes what is found"
        rows = torch.tensor([5, 2, 4])
        assert torch.allclose(attack(given.select(rows)), whole[rows], atol=1e-5), "the batch changes what is found"


def test_fab_stops_inside_the_threat_model_with_the_same_verdicts_and_fewer_forwards() -> None:
    model, images = network(), pixels(20, low=0.0, high=1.0)
    asked: list[int] = []

    def counted(points: Tensor) -> Tensor:
        asked.append(len(points))
        logits: Tensor = model(points)
        return logits

    given = replace(goal_for(model, images), model=counted)
    verdicts, costs = [], []
    for stop in (False, True):
        asked.clear()
        attack = made("fab", threat=threat("linf", 0.1), steps=20, targets=3, stop_inside=stop)
        verdicts.append(attack.threat.size(attack(given) - images) <= attack.threat.radius)
        costs.append(sum(asked))
    assert 0 < int(verdicts[0].sum()) < 20, "the radius decides nothing here, so the test proves nothing"
    assert torch.equal(*verdicts), "stopping early changes who is fooled inside the threat model"
    assert costs[1] < costs[0], f"stopping early saves nothing: {costs}"


def test_fab_restarts_and_targets_never_take_an_example_back() -> None:
    model, images = network(classes=5), pixels(16, low=0.0, high=1.0)
    given = goal_for(model, images)
    sizes = []
    for options in ({"restarts": 1}, {"restarts": 3}):
        attack = made("fab", threat=threat("l2"), steps=8, **options)
        sizes.append(attack.threat.size(attack(given) - images))
    assert bool((sizes[1] <= sizes[0] + 1e-7).all()), "more restarts gave a larger distance"


@pytest.mark.parametrize("norm", NORMS)
def test_fab_looks_at_all_classes_unless_told_otherwise(norm: str) -> None:
    model, images = network(classes=15), pixels(12, low=0.0, high=1.0)
    given = goal_for(model, images)
    found = {count: made("fab", threat=threat(norm), steps=8, candidates=count)(given) for count in (0, 1, 14, 15, 100)}
    for count in (14, 15, 100):
        assert torch.equal(found[0], found[count]), f"0 candidates are not all: {count} of 14 give something else"
    assert not torch.equal(found[0], found[1]), "the nearest boundary is always the likeliest class's: the test is idle"


def test_the_nearest_plane_is_the_nearest_by_the_dual_norm() -> None:
    model, images = Linear(classes=6), pixels(5)
    given = goal_for(model, images)
    dual = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}
    for norm in NORMS:
        plane = nearest_plane(model, images, given.labels, 10, norm)
        distance = plane.gap.abs() / torch.linalg.vector_norm(plane.normal, dual[norm], dim=1)
        exact = exact_distances(model, given, norm)
        assert torch.allclose(distance.double(), exact, rtol=1e-4), f"{norm}: not the nearest class's boundary"


def test_cw_asks_for_a_lead_where_confidence_is_set_and_prefers_the_smaller_weight() -> None:
    model, images = Linear(), pixels()
    given = goal_for(model, images)
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
