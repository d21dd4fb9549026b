"""Charts: where values are drawn, and which values are written at the sides."""

from __future__ import annotations

import re

import pytest

from matx.report.charts import BOTTOM, LEFT, RIGHT, TOP, Scale, line_chart, scale_of


def test_the_ends_of_a_scale_are_drawn_at_its_pixels() -> None:
    scale = scale_of([2.0, 6.0, 4.0], 100.0, 200.0)
    assert [scale.pixel(value) for value in (2.0, 4.0, 6.0)] == [100.0, 150.0, 200.0], "low, middle and high"
    assert Scale(0.5, 8.0, 0.0, 4.0, log=True).pixel(2.0) == pytest.approx(2.0), "2 is halfway from 0.5 to 8 by ratio"
    single = scale_of([3.0], 0.0, 10.0)
    assert (single.low, single.high, single.pixel(3.0)) == (2.5, 3.5, 5.0), "one value is in the middle"


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [(0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.412, 0.488, [0.42, 0.44, 0.46, 0.48]), (1, 9, [2, 4, 6, 8])],
)
def test_round_values_are_multiples_of_1_2_or_5(low: float, high: float, values: list[float]) -> None:
    assert Scale(low, high, 0.0, 1.0).round_values() == pytest.approx(values), "three to seven of them"


@pytest.mark.parametrize("step", [0.1, 0.05, 0.025, 1 / 30])
def test_every_range_has_round_values(step: float) -> None:
    ends = [number * step for number in range(41)]
    counts = {len(scale_of([low, high], 0.0, 1.0).round_values()) for low in ends for high in ends if high > low}
    assert counts <= set(range(2, 9)), "also where rounding puts a range just below 3 times a power of ten"


def test_a_line_chart_has_its_points_labels_and_whole_epochs() -> None:
    drawn = line_chart("a <title>", {"one": [(1.0, 0.0), (3.0, 1.0)], "": [(2.0, 0.5)]}, "epoch")
    first, second = re.findall(r'points="([^"]*)"', drawn)
    assert first == f"{LEFT:.1f},{BOTTOM:.1f} {RIGHT:.1f},{TOP:.1f}", "from corner to corner"
    assert second == f"{(LEFT + RIGHT) / 2:.1f},{(BOTTOM + TOP) / 2:.1f}", "the other in the middle"
    assert "a &lt;title&gt;" in drawn, "names are text"
    assert drawn.count(">one</text>") == 1, "a line with a name is in the legend, one without is not"
    below = re.findall(rf'y="{BOTTOM + 14}" text-anchor="middle">([^<]*)<', drawn)
    assert below == ["1", "2", "3"], "an axis of whole numbers has whole values"
