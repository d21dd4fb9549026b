"""The metric `margin`: distances of a linear model by the formula, the median and its interval against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import matx
from matx.config import load_experiment
from matx.data import MemorySplit
from matx.errors import OptionError
from matx.interfaces import Column, Figure
from matx.measure import EvaluationSettings, Measured, measure
from matx.threat import ThreatModel


def attack(norm: str = "l2", eps: float | str = 0.5, name: str = "deepfool", **options: Any) -> Any:
    return matx.attacks[name](threat=ThreatModel(norm=norm, eps=eps), **options)


def margin(*attacks: Any, **options: Any) -> Any:
    return matx.metrics["margin"](attacks=attacks, **options)


def named(figures: Any) -> dict[str, Figure]:
    return {figure.column.name: figure for figure in figures}


class TwoClasses(nn.Module):
    """Class 1 where w x > b."""

    def __init__(self, weight: list[float], bias: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.tensor(weight)), bias

    def forward(self, images: Tensor) -> Tensor:
        score = images.flatten(1) @ self.weight - self.bias
        return torch.stack([torch.zeros_like(score), score], 1)


WEIGHT, BIAS = [1.0, 2.0, -1.0, 0.5], 1.0


def found_on(metric: Any, images: Tensor, labels: Tensor) -> Measured:
    settings = EvaluationSettings(metrics=[metric])
    return measure({"a": TwoClasses(WEIGHT, BIAS)}, MemorySplit.of(images, labels), settings)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_of_a_linear_model_it_is_the_distance_to_the_plane(norm: str, dual: float) -> None:
    images = 0.4 + 0.2 * torch.rand(40, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    model = TwoClasses(WEIGHT, BIAS)
    with torch.no_grad():
        score, labels = model(images)[:, 1], model(images).argmax(1)
    labels[:5] = 1 - labels[:5]
    found = found_on(margin(attack(norm, 0.01, steps=50)), images, labels)
    sizes = found.columns["margin"][Column("a", f"margin {norm}")].numpy()
    expected = score.abs().double().numpy() / np.linalg.norm(WEIGHT, dual)
    assert (sizes[:5] == 0.0).all(), "a misclassified image has a margin of 0"
    assert (sizes[5:] >= expected[5:] - 1e-6).all(), "an adversarial example is nearer than the boundary"
    assert sizes[5:] == pytest.approx(expected[5:], rel=0.05, abs=1e-3), "it is not the distance to the plane"
    assert (sizes[5:] > 0.01).any(), "the attack's own radius bounds the search"


def test_the_nearest_of_several_attacks_counts() -> None:
    images = torch.rand(30, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    labels = TwoClasses(WEIGHT, BIAS)(images).argmax(1)
    rough, fine = attack(halvings=0, overshoot=1.0), attack(name="fab", steps=20)
    parts = [found_on(margin(one), images, labels) for one in (rough, fine)]
    column = Column("a", "margin l2")
    apart = torch.stack([part.columns["margin"][column] for part in parts])
    both = found_on(margin(rough, fine), images, labels).columns["margin"][column]
    assert torch.equal(both, apart.amin(0)), "not the smaller of two perturbations"
    assert bool((apart[0] > apart[1]).any()), "the case separates nothing"


def test_median_and_curve_are_numpys() -> None:
    sizes = np.random.default_rng(3).exponential(0.5, 101)
    figures = named(
        margin(attack(eps=0.5), shares=(0.5, 1.0, 2.0)).summarise({Column("a", "margin l2"): torch.tensor(sizes)})
    )
    median = figures["median l2"]
    assert median.value == pytest.approx(np.median(sizes)), "not the median"
    # The 40th and 62nd of 101 in order: P(40 <= Binomial(101, 1/2) < 62) is over 95 %.
    ranks = np.sort(sizes)
    low, high = (np.searchsorted(ranks, end) for end in (median.low, median.high))
    covered = stats.binom.cdf(high, 101, 0.5) - stats.binom.cdf(low, 101, 0.5)
    assert covered >= 0.95, f"places {low} and {high} of 101 cover {covered:.3f}"
    assert high - low <= 22, "the interval is wider than it must be"
    for radius in (0.25, 0.5, 1.0):
        figure = figures[f"over l2:{radius:g}"]
        assert (figure.correct, figure.n) == ((sizes > radius).sum(), 101), f"the share over {radius} is miscounted"


def test_what_was_not_found_is_over_every_radius() -> None:
    half = {Column("a", "margin l2"): torch.tensor([0.0, 0.1, 0.2, torch.inf, torch.inf], dtype=torch.float64)}
    figures = named(margin(attack(eps=4.0), shares=(1.0,)).summarise(half))
    assert figures["over l2:4"].correct == 2, "an image without a perturbation is not over the radius"
    assert figures["median l2"].value == 0.2, "the median of five is the third"
    assert figures["median l2"].low is None, "five images have no interval of 95 %"
    most = {Column("a", "margin l2"): torch.tensor([0.0, torch.inf, torch.inf], dtype=torch.float64)}
    assert list(named(margin(attack(eps=4.0), shares=(1.0,)).summarise(most))) == ["over l2:4"], "an infinite median"


def test_radii_are_written_as_the_threat_models() -> None:
    columns = {Column("a", "margin linf"): torch.zeros(3, dtype=torch.float64)}
    figures = margin(attack("linf", "8/255"), shares=(0.5, 2.0)).summarise(columns)
    names = [figure.column.name for figure in figures]
    assert names == ["median linf", "over linf:4/255", "over linf:16/255"], "radii are not shares of 8/255"


def test_a_model_that_ignores_its_input_has_no_margin() -> None:
    model = TwoClasses([0.0, 0.0, 0.0, 0.0], -1.0)
    split = MemorySplit.of(torch.rand(4, 1, 2, 2), torch.ones(4, dtype=torch.int64))
    found = measure({"a": model}, split, EvaluationSettings(metrics=[margin(attack())]))
    assert found.columns["margin"][Column("a", "margin l2")].isinf().all(), "a perturbation out of nothing"
    assert "median l2" not in named(found.figures["margin"]), "an infinite median is shown"


def test_the_packaged_recipe_serves_every_norm() -> None:
    (metric,) = load_experiment(["metrics/margin"]).experiment.evaluation.metrics
    norms = [one.threat.norm for one in metric.attacks]  # type: ignore[attr-defined]
    assert norms == ["linf", "l2", "l1"], "a norm is left out"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"attacks": []}, "attacks: got none, allowed: one or more of kind minimum_norm"),
        ({"attacks": ["pgd"]}, "attacks: got PGD.*allowed: one or more of kind minimum_norm"),
        ({"attacks": ["deepfool"], "shares": (0.0,)}, r"shares\[0\]: got 0.0, allowed: over 0"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    options["attacks"] = [attack(name=name) for name in options["attacks"]]
    with pytest.raises(OptionError, match=f"metrics.margin.{sentence}"):
        matx.metrics["margin"](**options)
