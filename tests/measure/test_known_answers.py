"""Linear models have a closed form under every norm with the box: the evaluation must hit it sample by sample.

The margin against a rival is w . x + b with w = w_y - w_r. Inside ball and box it can fall by

    l_inf   sum_i |w_i| min(eps, room_i)
    l1      greedily: the largest |w_i| first, each up to its room, until eps is spent
    l2      sum_i |w_i| min(t |w_i|, room_i), with the t at which the norm of these moves is eps (or all room is used)

where room_i is the way to the side of the box that -w_i points to. The sample stands if it does against every rival.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import nn

import matx
from matx.data import MemorySplit
from matx.interfaces import Attack
from matx.measure import EvaluationSettings, flags_of
from matx.threat import ThreatModel

CLASSES, SHAPE = 4, (1, 3, 4)
CLOSE = 1e-4
EPS = {"linf": 0.06, "l2": 0.2, "l1": 0.5}
Array = NDArray[np.float64]


def fall(weight: Array, room: Array, norm: str, eps: float) -> float:
    """By how much w . x can fall."""
    size = np.abs(weight)
    if norm == "linf":
        return float((size * np.minimum(eps, room)).sum())
    if norm == "l1":
        order = np.argsort(-size)
        before = np.concatenate([[0.0], np.cumsum(room[order])[:-1]])
        return float((size[order] * np.clip(eps - before, 0.0, room[order])).sum())
    if np.sqrt((room**2).sum()) <= eps:
        return float((size * room).sum())

    def excess(t: float) -> float:
        return float(np.sqrt((np.minimum(t * size, room) ** 2).sum()) - eps)

    high = 1.0
    while excess(high) < 0:
        high *= 2.0
    moved = np.minimum(brentq(excess, 0.0, high, xtol=1e-14) * size, room)
    return float((size * moved).sum())


def world() -> tuple[nn.Sequential, MemorySplit]:
    """A linear model, and images inside the box, on its edges and in its corners, labelled mostly as it answers."""
    generator = torch.Generator().manual_seed(11)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, CLASSES))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(CLASSES, 12, generator=generator))
        model[1].bias.copy_(torch.randn(CLASSES, generator=generator) * 0.1)
    images = torch.rand(96, *SHAPE, generator=generator)
    images[32:64] = images[32:64] * 3.0 - 1.0  # two pixels in three on an edge
    images[64:] = images[64:].round()
    images = images.clamp(0.0, 1.0)
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[::15] = (labels[::15] + 1) % CLASSES
    return model.eval(), MemorySplit.of(images, labels)


def worst_margins(model: nn.Sequential, split: MemorySplit, norm: str, eps: float) -> Array:
    """(N,) the smallest margin over rivals inside ball and box; eps 0: the clean margin."""
    weight = model[1].weight.detach().double().numpy()
    bias = model[1].bias.detach().double().numpy()
    found = []
    for image, label in zip(split.images.flatten(1).double().numpy(), split.labels.tolist(), strict=True):
        margins = []
        for rival in set(range(CLASSES)) - {label}:
            w = weight[label] - weight[rival]
            room = np.where(w > 0, image, 1.0 - image)
            margins.append(w @ image + bias[label] - bias[rival] - (fall(w, room, norm, eps) if eps else 0.0))
        found.append(min(margins))
    return np.array(found)


def attacks(norm: str) -> dict[str, list[Attack]]:
    """What an evaluation is made of: PGD of two objectives, and AutoAttack."""
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    shared = {"threat": threat, "steps": 60, "restarts": 2, "early_exit": True}
    l1 = {"sparsity": 1 / 12} if norm == "l1" else {}
    pgd = [matx.attacks["pgd"](objective=objective, **shared, **l1) for objective in ("margin", "cross_entropy")]
    return {"pgd": pgd, "autoattack": [matx.attacks["autoattack"](threat=threat, steps=50, queries=20)]}


@pytest.mark.parametrize("suite", ["pgd", "autoattack"])
@pytest.mark.parametrize("norm", list(EPS))
def test_the_evaluation_hits_the_closed_form(norm: str, suite: str) -> None:
    model, split = world()
    clean, worst = worst_margins(model, split, norm, 0.0), worst_margins(model, split, norm, EPS[norm])
    decided = np.abs(worst) >= CLOSE
    found = flags_of({"a": model}, split, EvaluationSettings(attacks=attacks(norm)[suite]))["a"]
    (flags,) = found.threats.values()

    assert (~decided).sum() <= 3, f"{(~decided).sum()} samples lie too near to the boundary to be judged"
    assert np.array_equal(found.clean.numpy(), clean > 0), "a clean answer differs from the linear algebra"
    wrong = np.flatnonzero((flags.numpy() != ((clean > 0) & (worst > 0))) & decided)
    assert len(wrong) == 0, f"samples {wrong} of worst margins {worst[wrong]} differ from their closed form"
    share = float((worst > 0).mean())
    assert 0.2 < share < 0.8, f"the case separates little: {share:.0%} are robust"


def test_the_closed_form_is_a_bound_that_is_reached() -> None:
    """The oracle itself, against many random points inside ball and box and against its own maximiser in l_inf."""
    generator = np.random.default_rng(5)
    for norm, eps in EPS.items():
        weight, image = generator.normal(size=12), np.clip(generator.uniform(-0.3, 1.3, size=12), 0.0, 1.0)
        room = np.where(weight > 0, image, 1.0 - image)
        bound = fall(weight, room, norm, eps)
        threat, base = ThreatModel(norm=norm, eps=eps), torch.from_numpy(image)
        far = base - torch.from_numpy(generator.normal(size=(2000, 12))) - 20.0 * torch.from_numpy(weight)
        inside = threat.project(far, base.expand(2000, 12))
        reached = ((base - inside) @ torch.from_numpy(weight)).max().item()
        assert reached <= bound + 1e-9, f"{norm}: a point inside the set falls by more than the closed form"
        assert reached >= 0.8 * bound, f"{norm}: the closed form is far from what projected points reach"
