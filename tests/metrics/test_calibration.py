"""The metric `calibration`: ECE against a loop over bins, Brier score by hand, and what a known model must give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import matx
from matx.data import MemorySplit
from matx.errors import OptionError
from matx.interfaces import Column, Figure
from matx.measure import EvaluationSettings, measure
from matx.threat import ThreatModel


def made(name: str, **options: Any) -> Any:
    return matx.metrics[name](**options)


def planted(confidence: list[float], right: list[bool]) -> dict[Column, Tensor]:
    """Columns of one model; the Brier column is of no concern."""
    return {
        Column("a", "correct clean"): torch.tensor(right),
        Column("a", "confidence clean"): torch.tensor(confidence),
        Column("a", "Brier clean"): torch.tensor([0.5] * len(right)),
    }


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.column.name: figure for figure in figures}


def reference(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    """The formula of Guo et al. word by word: bins ((m-1)/M, m/M]."""
    error = 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def test_ece_is_what_one_counts_by_hand() -> None:
    columns = planted([0.9, 0.8, 0.3, 0.4], [True, False, False, True])
    ece = by_name(made("calibration", bins=2).summarise(columns))["ECE clean"].value
    # Upper bin: half right, 0.85 confident; lower bin: half right, 0.35 confident; half of the images each.
    assert ece == pytest.approx(0.5 * 0.35 + 0.5 * 0.15), "two bins of two images"
    one = by_name(made("calibration", bins=1).summarise(columns))["ECE clean"].value
    assert one == pytest.approx(abs(0.5 - 0.6)), "one bin compares the means"


@pytest.mark.parametrize("bins", [1, 5, 15, 40])
def test_ece_equals_a_loop_over_bins(bins: int) -> None:
    rng = np.random.default_rng(bins)
    confidence = rng.uniform(0.1, 1.0, 500).astype(np.float32)
    right = rng.uniform(size=500) < confidence**2
    ece = by_name(made("calibration", bins=bins).summarise(planted(confidence.tolist(), right.tolist())))["ECE clean"]
    expected = reference(confidence.astype(np.float64), right, bins)
    assert ece.value == pytest.approx(expected, abs=1e-9), f"{bins} bins give another error than the formula"
    assert (ece.n, ece.low, ece.correct) == (500, None, None), "ECE is no count and has no interval"


def test_an_edge_belongs_to_the_bin_below() -> None:
    columns = planted([0.5, 0.5, 1.0], [True, True, True])
    ece = by_name(made("calibration", bins=2).summarise(columns))["ECE clean"].value
    assert ece == pytest.approx(2 / 3 * 0.5), "0.5 is in (0, 0.5], 1 in (0.5, 1]"


class Fixed(nn.Module):
    """The same logits for every image."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1) + 0.0 * images.flatten(1).sum(1, keepdim=True)


def found_on(models: dict[str, nn.Module], labels: list[int], attacks: list[Any]) -> dict[str, Figure]:
    split = MemorySplit.of(torch.rand(len(labels), 1, 4, 4), torch.tensor(labels))
    settings = EvaluationSettings(metrics=[made("calibration")], attacks=attacks)
    return by_name(list(measure(models, split, settings).figures["calibration"]))


def test_brier_is_what_one_computes_by_hand() -> None:
    p = np.array([0.7, 0.2, 0.1])
    labels = [0, 0, 1, 2] * 5
    found = found_on({"a": Fixed(np.log(p).tolist())}, labels, [])
    each = [((p - np.eye(3)[label]) ** 2).sum() for label in labels]
    brier = found["Brier clean"]
    assert brier.value == pytest.approx(np.mean(each), abs=1e-6), "the mean of sum_c (p_c - [c = y])^2"
    low, high = stats.t.interval(0.95, 19, np.mean(each), stats.sem(each))
    assert (brier.low, brier.high) == pytest.approx((low, high), abs=1e-6), "not Student's interval of the mean"
    assert found["ECE clean"].value == pytest.approx(0.7 - 0.5, abs=1e-6), "0.7 confident, right on half"


def test_logits_that_are_not_finite_are_wrong_with_full_confidence() -> None:
    found = found_on({"a": Fixed([0.0, float("nan"), 1.0])}, [1, 1, 1], [])
    assert found["ECE clean"].value == 1.0, "wrong with confidence 1"
    assert found["Brier clean"].value == 2.0, "the worst score"


def test_adversarial_examples_are_the_models_own() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    images = torch.rand(60, 1, 4, 4)
    with torch.no_grad():
        network[1].weight.mul_(10.0)
        split = MemorySplit.of(images, network(images).argmax(1))
    pgd: Any = matx.attacks["pgd"](threat=ThreatModel(norm="linf", eps=0.4), steps=10, objective="margin")
    settings = EvaluationSettings(metrics=[made("calibration")], attacks=[pgd])
    found = measure({"a": network}, split, settings)
    figures, columns = by_name(list(found.figures["calibration"])), found.columns["calibration"]
    right = {key: float(columns[Column("a", f"correct {key}")].float().mean()) for key in ("clean", "linf:0.4")}
    assert right["clean"] == 1.0, "labels are the model's own answers"
    assert right["linf:0.4"] < 0.5, "the case separates nothing"
    assert figures["Brier linf:0.4"].value > figures["Brier clean"].value, "attacks improve the Brier score"
    assert figures["ECE linf:0.4"].value > figures["ECE clean"].value, "confident wrong answers improve calibration"


def test_bins_are_checked() -> None:
    with pytest.raises(OptionError, match=r"metrics\.calibration\.bins: got 0, allowed: 1 or more"):
        made("calibration", bins=0)
