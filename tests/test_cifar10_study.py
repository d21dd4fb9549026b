"""The study on CIFAR-10: its images are nobody else's, its recipes are sound, its plan is the committed arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.results.cifar10 import parts, plan

LABELS = np.random.default_rng(0).integers(0, 10, 50_000)


def test_training_sets_are_balanced_and_share_no_image() -> None:
    sets = [parts.training_set(LABELS, number) for number in range(parts.SETS)]
    places = np.concatenate(sets)
    assert len(np.unique(places)) == parts.SETS * 2_000, "an image is in two training sets"
    assert places.max() < parts.POOL, "an image that validates or tests is trained on"
    for number, one in enumerate(sets):
        counts = np.bincount(LABELS[one], minlength=10)
        assert counts.tolist() == [200] * 10, f"training set {number} has {counts} images of the classes"


def test_validation_and_test_images_are_apart() -> None:
    used = [*parts.VALIDATION.values(), parts.TEST]
    places = [place for one in used for place in one]
    assert len(set(places)) == len(places), "images of one purpose serve another"
    assert min(places) >= parts.POOL, "a training set reaches into them"


def test_a_training_set_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="number: got 17, allowed: 0 to 16"):
        parts.training_set(LABELS, 17)
    with pytest.raises(ValueError, match=r"class 3: got \d+ images in the pool, allowed: 200 or more"):
        parts.training_set(np.where(LABELS == 3, 4, LABELS), 0)


@pytest.mark.parametrize("method", plan.METHODS)
def test_a_recipe_is_sound(method: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50_000, 2, 2, 3), np.uint8)
    parts.write(images, LABELS, 3, "gate", tmp_path / "3.npz")
    experiment = plan.loaded(method, tmp_path / "3.npz").experiment
    data = experiment.dataset()
    assert len(data.train.labels) == 2_000, "the training images are read"
    assert [experiment.evaluation.due(epoch, 50) for epoch in (23, 24, 50)] == [False, True, True], "validated epochs"
    assert sum(experiment.evaluation.due(epoch, plan.EPOCHS) for epoch in range(1, 51)) == plan.VALIDATED, "the plan's"


def test_the_plan_is_up_to_date() -> None:
    assert plan.PAGE.read_text(encoding="utf-8") == plan.page(), "run python -m tools.results.cifar10 plan"


def test_hours_are_passes_over_the_rate() -> None:
    """2,000 images, 50 epochs, 13 passes; 27 validations of 1,000 images: 1 + 0.35 x 20 passes each."""
    row = plan.Row(what="at", method="at", runs=2, tested=False)
    one, both = plan.hours(row, {"at": {"passes": 13.0}}, 1000.0)
    assert one == pytest.approx((2_000 * 50 * 13 + 27 * 1_000 * 8) / 1000 / 3600), "the hours of one run"
    assert both == 2 * one, "the hours of all"
