"""The study on CIFAR-10: its images are nobody else's, its recipes are sound, its plan is the committed arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from matx.config import load_experiment
from tools.results.cifar10 import parts, plan, runs

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


def test_small_images_are_means_of_four_pixels() -> None:
    pixels = np.array([[1, 3, 0, 0], [3, 5, 0, 3], [9, 9, 7, 7], [9, 9, 7, 9]], np.uint8)
    found = parts.halved(pixels[None, :, :, None])[0, :, :, 0]
    assert found.tolist() == [[3, 1], [9, 8]], "means of 12/4, 3/4, 36/4 and 30/4, rounded"


def test_a_training_set_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="number: got 17, allowed: 0 to 16"):
        parts.training_set(LABELS, 17)
    with pytest.raises(ValueError, match=r"class 3: got \d+ images in the pool, allowed: 200 or more"):
        parts.training_set(np.where(LABELS == 3, 4, LABELS), 0)


@pytest.mark.parametrize("method", sorted({one.recipe for one in runs.METHODS.values()}))
def test_a_recipe_is_sound(method: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50_000, 2, 2, 3), np.uint8)
    parts.write(images, LABELS, 3, "gate", tmp_path / "3.npz")
    experiment = plan.loaded(method, tmp_path / "3.npz").experiment
    assert experiment.train_limit == plan.IMAGES, "the plan's training images"
    assert experiment.epochs == plan.EPOCHS, "the plan's epochs"
    validated = sum(experiment.evaluation.due(epoch, plan.EPOCHS) for epoch in range(1, plan.EPOCHS + 1))
    of = "a union" if method in runs.UNION else "a run"
    assert validated == plan.VALIDATED[of][0], "the plan's validated epochs"
    if method in plan.TUNED:
        assert len(experiment.tune.corners) == runs.TRIALS, "each trial of a search is listed"


def test_the_fresh_seeds_train_on_images_of_their_own() -> None:
    for method in runs.METHODS:
        if not runs.METHODS[method].frozen_peer:
            where = "cifar10_parts/16x16/12.npz" if method in runs.UNION else "cifar10_parts/12.npz"
            assert runs.options(method, 12)[1] == f"datasets.npz.path='{where}'", f"{method} of seed 12"
    assert max(runs.SEEDS) < parts.SETS, "every seed has a training set"


def test_the_plan_is_up_to_date() -> None:
    assert plan.PAGE.read_text(encoding="utf-8") == plan.page(), "run python -m tools.results.cifar10 plan"


RATES = {"training": 1000.0, "evaluation": 500.0}


def test_hours_of_a_trial_are_passes_over_their_rates() -> None:
    """1,000 images, 30 epochs, 13 passes; 9 validations of 2,000 images: 1 + 0.25 x 20 passes each."""
    row = plan.Row(what="at", method="at", runs=2, trial=True)
    one, both = plan.hours(row, {"at": {"passes": 13.0}}, RATES)
    assert one == pytest.approx((1_000 * 30 * 13 / 1000 + 9 * 2_000 * 6 / 500) / 3600), "the hours of one run"
    assert both == 2 * one, "the hours of all"


def test_every_explored_method_is_sound(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50_000, 2, 2, 3), np.uint8)
    parts.write(images, LABELS, 3, "gate", tmp_path / "3.npz")
    for name, how in runs.EXPLORED.items():
        bindings = [f"datasets.npz.path={str(tmp_path / '3.npz')!r}", *how.settings]
        usual = load_experiment([runs.recipe(name)], bindings[:1], own=True).experiment
        assert load_experiment([runs.recipe(name)], bindings, own=True).experiment != usual, f"{name} changes nothing"


def test_hours_of_a_run_count_its_test_attacks() -> None:
    """9 validations of 1,000 images; three of 2,000 under PGD-100, one of 1,000 under ten runs of 100 steps."""
    row = plan.Row(what="at", method="at", runs=1)
    one, _ = plan.hours(row, {"at": {"passes": 13.0}}, RATES)
    attacks = 9 * 1_000 * 6 + 3 * 2_000 * 51 + 1_000 * 501
    assert one == pytest.approx((1_000 * 30 * 13 / 1000 + attacks / 500) / 3600), "the hours of one run"
