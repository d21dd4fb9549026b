"""Projections onto a plane inside the box, against independent solvers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from registry.attacks._boundary import nearest_plane, onto_plane
from tests.attacks.minimum_norm import (
    NORMS,
    ORDER,
    Linear,
    attack_input,
    exact_distances,
    oracle,
    pixels,
)


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


def test_the_nearest_plane_is_the_nearest_by_the_dual_norm() -> None:
    model, images = Linear(classes=6), pixels(5)
    given = attack_input(model, images)
    dual = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}
    for norm in NORMS:
        plane = nearest_plane(model, images, given.labels, 10, norm)
        distance = plane.gap.abs() / torch.linalg.vector_norm(plane.normal, dual[norm], dim=1)
        exact = exact_distances(model, given, norm)
        assert torch.allclose(distance.double(), exact, rtol=1e-4), f"{norm}: not the nearest class's boundary"
