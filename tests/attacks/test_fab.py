"""FAB: batches, early exit, restarts and targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.attacks.minimum_norm import (
    NORMS,
    attack_input,
    made,
    network,
    pixels,
    threat,
)


@pytest.mark.parametrize("norm", NORMS)
def test_fab_does_not_depend_on_batch_or_rows(norm: str) -> None:
    model, images = network(), pixels(6, low=0.0, high=1.0)
    given = attack_input(model, images)
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

    given = replace(attack_input(model, images), model=counted)
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
    given = attack_input(model, images)
    sizes = []
    for options in ({"restarts": 1}, {"restarts": 3}):
        attack = made("fab", threat=threat("l2"), steps=8, **options)
        sizes.append(attack.threat.size(attack(given) - images))
    assert bool((sizes[1] <= sizes[0] + 1e-7).all()), "more restarts gave a larger distance"


@pytest.mark.parametrize("norm", NORMS)
def test_fab_looks_at_all_classes_unless_told_otherwise(norm: str) -> None:
    model, images = network(classes=15), pixels(12, low=0.0, high=1.0)
    given = attack_input(model, images)
    found = {count: made("fab", threat=threat(norm), steps=8, candidates=count)(given) for count in (0, 1, 14, 15, 100)}
    for count in (14, 15, 100):
        assert torch.equal(found[0], found[count]), f"0 candidates are not all: {count} of 14 give something else"
    assert not torch.equal(found[0], found[1]), "the nearest boundary is always the likeliest class's: the test is idle"
