"""Importance is spoken of only where there are complete trials enough to say so."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial

from matx.experiment.tune import Tune
from matx.tune.importance import importance_in_words, importances, trials_needed


def trials(count: int, settings: int, *, flat: bool = False) -> list[FrozenTrial]:
    """Complete trials whose value is that of the first setting."""
    draw = random.Random(0)
    ranges = {f"a.x{number}": FloatDistribution(0.0, 1.0) for number in range(settings)}
    found = []
    for _ in range(count):
        params = {name: draw.random() for name in ranges}
        value = 0.5 if flat else params["a.x0"]
        found.append(optuna.trial.create_trial(params=params, distributions=ranges, value=value))
    return found


def space(settings: int) -> Tune:
    return Tune(space={f"a.x{number}": ("float", 0.0, 1.0) for number in range(settings)})


@pytest.mark.parametrize(("settings", "needed"), [(2, 10), (3, 10), (4, 13), (8, 25)])
def test_importance_needs_ten_trials_and_more_than_three_a_setting(settings: int, needed: int) -> None:
    assert trials_needed(settings) == needed, "at least 10, and more than 3 times the settings"
    tune = space(settings)
    assert importances(trials(needed - 1, settings), tune, 0) == {}, "one trial less says nothing"
    (said,) = importance_in_words(trials(needed - 1, settings), tune, 0)
    assert (
        said == f"Importance for union: not computed from {needed - 1} complete trials, at least {needed} are needed."
    )
    assert set(importances(trials(needed, settings), tune, 0)) == set(tune.space), "with so many each has its share"


def test_the_setting_that_decides_matters_most() -> None:
    said = importance_in_words(trials(30, 2), space(2), 0)
    assert said[0] == "Importance for union (shares of the differences between 30 complete trials):"
    assert said[1].startswith("  a.x0 matters most ("), "the first setting decides the value"
    shares = importances(trials(30, 2), space(2), 0)
    assert shares["a.x0"] > 0.8, "and has nearly all of the differences"
    assert sum(shares.values()) == pytest.approx(1.0), "shares add up to 1"


def test_a_configuration_counts_once() -> None:
    assert importances(trials(5, 2) * 2, space(2), 0) == {}, "ten trials of five configurations are five"


def test_equal_values_and_a_single_setting_have_no_importance() -> None:
    (said,) = importance_in_words(trials(12, 2, flat=True), space(2), 0)
    assert "all of the same value" in said, "nothing differs, so nothing explains it"
    assert importance_in_words(trials(30, 1), space(1), 0) == [], "a single setting has all differences, always"
