"""The metric `agreement`: shares counted by hand, twins and a model whose logits are not finite."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

import matx
from matx.data import MemorySplit
from matx.interfaces import Column, Figure
from matx.measure import EvaluationSettings, measure
from matx.threat import ThreatModel

KEY = "linf:0.2"


class Recorded(nn.Module):
    """Recorded each image by its first pixel: classes by number of image."""

    def __init__(self, *classes: int) -> None:
        super().__init__()
        self.classes = torch.tensor(classes)

    def forward(self, images: Tensor) -> Tensor:
        number = (images[:, 0, 0, 0] * 10).round().long()
        return nn.functional.one_hot(self.classes[number], 3).float() + 0.0 * images.flatten(1).sum(1, keepdim=True)


def found_on(models: dict[str, nn.Module], images: Tensor, attacks: list[Any]) -> dict[Column, Figure]:
    split = MemorySplit.of(images, torch.arange(len(images)) % 3)
    settings = EvaluationSettings(metrics=[matx.metrics["agreement"]()], attacks=attacks)
    return {figure.column: figure for figure in measure(models, split, settings).figures["agreement"]}


def pgd() -> Any:
    return matx.attacks["pgd"](threat=ThreatModel(norm="linf", eps=0.2), steps=5)


def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def test_clean_agreement_is_what_one_counts_by_hand() -> None:
    images = (torch.arange(4.0) / 10).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    models = {"a": Recorded(0, 1, 2, 2), "b": Recorded(0, 1, 1, 2), "c": Recorded(1, 1, 1, 1)}
    found = found_on(models, images, [])
    counts = {(column.model, column.source): (figure.correct, figure.n) for column, figure in found.items()}
    expected = {("a", "b"): (3, 4), ("b", "a"): (3, 4), ("a", "c"): (1, 4), ("c", "a"): (1, 4)}
    expected |= {("b", "c"): (2, 4), ("c", "b"): (2, 4)}
    assert counts == expected, "agreement is not the share of equal answers, right or wrong"


def test_twins_agree_on_everything_and_strangers_on_less() -> None:
    images = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    first = linear(0)
    twins = found_on({"a": first, "b": copy.deepcopy(first)}, images, [pgd()])
    assert {figure.correct for figure in twins.values()} == {60}, "twins answer differently"
    assert len(twins) == 4, "clean and adversarial, of both"
    strangers = found_on({"a": first, "b": linear(1)}, images, [pgd()])
    assert all(0 < (figure.correct or 0) < 60 for figure in strangers.values()), "strangers agree like twins"
    assert strangers[Column("a", "clean", "b")].correct == strangers[Column("b", "clean", "a")].correct, "not symmetric"


def test_the_adversarial_examples_are_the_sources() -> None:
    images = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    models = {"a": linear(0), "b": linear(1)}
    asked = EvaluationSettings(metrics=[matx.metrics[name]() for name in ("agreement", "transfer")], attacks=[pgd()])
    columns = measure(models, MemorySplit.of(images, torch.arange(60) % 3), asked).columns
    same = columns["agreement"][Column("b", KEY, "a")]
    target, source = (columns["transfer"][Column(name, KEY, "a")] for name in ("b", "a"))
    assert not bool((same & (target != source)).any()), "where both give one answer, both are right or both wrong"
    assert bool((target == source)[same].all()), "agreement is of other examples than transfer's"
    assert bool((same | ~(target & source)).all()), "two right answers are the same answer"


def test_nothing_agrees_with_logits_that_are_not_finite() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :3] * float("nan")

    found = found_on({"a": Broken(), "b": Broken()}, torch.rand(5, 1, 4, 4), [])
    assert {figure.correct for figure in found.values()} == {0}, "NaN agrees with NaN"


def test_one_model_has_no_columns() -> None:
    assert found_on({"a": linear(0)}, torch.rand(3, 1, 4, 4), [pgd()]) == {}, "a model is compared with itself"
