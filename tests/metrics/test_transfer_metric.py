"""The metric `transfer`: every share against a count by hand, and what the peers' likeness must show."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import matx
from matx.data import MemorySplit
from matx.interfaces import Column
from matx.measure import EvaluationSettings, Measured, measure
from matx.threat import ThreatModel

KEY = "linf:0.1"


def planted() -> dict[Column, Tensor]:
    """Four images; b fails on one clean image; attacks break a on 0, 1 and b on 1, 2, 3."""

    def right(*flags: int) -> Tensor:
        return torch.tensor(flags) == 1

    return {
        Column("a", "clean"): right(1, 1, 1, 1),
        Column("b", "clean"): right(1, 1, 1, 0),
        Column("a", KEY, "a"): right(0, 0, 1, 1),
        Column("b", KEY, "a"): right(0, 0, 1, 0),
        Column("a", KEY, "b"): right(1, 0, 0, 1),
        Column("b", KEY, "b"): right(1, 0, 0, 0),
    }


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ("accuracy", {("a", "a"): (2, 4), ("a", "b"): (1, 4), ("b", "a"): (2, 4), ("b", "b"): (1, 4)}),
        ("fooled", {("a", "a"): (2, 2), ("a", "b"): (2, 2), ("b", "a"): (2, 2), ("b", "b"): (2, 2)}),
        ("failures shared", {("a", "a"): (2, 2), ("a", "b"): (1, 4), ("b", "a"): (1, 4), ("b", "b"): (3, 3)}),
    ],
)
def test_every_share_is_what_one_counts_by_hand(share: str, expected: dict[tuple[str, str], tuple[int, int]]) -> None:
    figures = matx.metrics["transfer"]().summarise(planted())
    name = f"{share} under {KEY}"
    found = {(f.column.source, f.column.model): (f.correct, f.n) for f in figures if f.column.name == name}
    assert found == expected, f"{share} is not what the planted answers count to"


def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))


def found_on(models: dict[str, nn.Module], batch_size: int = 256) -> Measured:
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = models["a"](images).argmax(1)
    pgd: Any = matx.attacks["pgd"]
    attack = pgd(threat=ThreatModel.parse("linf:0.2"), steps=5, early_exit=True)
    settings = EvaluationSettings(metrics=[matx.metrics["transfer"]()], attacks=[attack], seed=3, batch_size=batch_size)
    return measure(models, MemorySplit.of(images, labels), settings)


def fooled(found: Measured) -> float:
    """The mean over pairs of different models."""
    figures = [f for f in found.figures["transfer"] if f.column.name.startswith("fooled")]
    values = [f.value for f in figures if f.column.source != f.column.model]
    return sum(values) / len(values)


def test_twins_share_everything_and_strangers_less() -> None:
    first = linear(0)
    assert fooled(found_on({"a": first, "b": copy.deepcopy(first)})) == 1.0, "what breaks a model spares its twin"
    assert fooled(found_on({"a": first, "b": linear(1)})) < 1.0, "examples transfer between strangers as between twins"


def test_batches_change_nothing_and_models_stay_as_they_were() -> None:
    models = {"a": linear(0).train(), "b": linear(1)}
    whole, parts = found_on(models), found_on(models, batch_size=7)
    assert whole.figures == parts.figures, "the batch size changes the matrix"
    assert all(parameter.requires_grad for parameter in models["a"].parameters()), "weights stay frozen"
    assert models["a"].training, "the mode was not put back"
