"""Schedules at known times, and options that are refused."""

from __future__ import annotations

from typing import Any

import pytest

import matx
from matx.errors import OptionError


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("constant", {}, [1, 1, 1]),
        ("cosine", {}, [1, 0.5, 0]),
        ("piecewise", {"milestones": [0.5, 7.5]}, [1, 0.1, 0.01]),
        ("triangular", {"peak": 0.5}, [0, 1, 0]),
        ("one_cycle", {"peak": 0.5}, [1 / 25, 1, 1e-5]),
        ("constant", {"warmup": 10}, [0, 0.5, 1]),
    ],
)
def test_schedules_at_start_middle_and_end(name: str, options: dict[str, Any], expected: list[float]) -> None:
    schedule = matx.schedules[name](**options)
    found = [schedule.at(epoch, 10) for epoch in (0, 5, 10)]
    assert found == pytest.approx(expected), f"{schedule}: {found}"


@pytest.mark.parametrize(("done", "factor"), [(0.0, 1 / 25), (0.2, 0.52), (0.4, 1.0), (0.7, 0.500005), (1.0, 1e-5)])
def test_one_cycle_is_half_way_between_its_ends_in_the_middle_of_each_cosine(done: float, factor: float) -> None:
    found = matx.schedules["one_cycle"]().at(50 * done, 50)
    assert found == pytest.approx(factor), f"the factor is {found} at {done:.0%} of training"


def test_a_time_beyond_the_last_epoch_counts_as_the_end() -> None:
    for name in matx.schedules:
        schedule = matx.schedules[name]()
        assert schedule.at(12.0, 10) == schedule.at(10.0, 10), f"{name} goes on after the last epoch"


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("cosine", {"warmup": -1.0}, r"schedules\.cosine\.warmup: got -1\.0, allowed: 0 or more"),
        ("piecewise", {"factor": float("nan")}, r"schedules\.piecewise\.factor: got nan"),
        ("triangular", {"peak": 0.0}, r"schedules\.triangular\.peak: got 0\.0, allowed: 0\.01 to 0\.99"),
        ("one_cycle", {"peak": 1.0}, r"schedules\.one_cycle\.peak: got 1\.0"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, float], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        matx.schedules[name](**options)
