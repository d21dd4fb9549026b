"""Contracts of metrics, tried on small models and real attacks as an evaluation asks them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from matx.craft import forked
from matx.data import MemorySplit
from matx.errors import MatxError
from matx.interfaces import Column, Figure, Metric
from matx.measure import EvaluationSettings, Measured, measure
from matx.testing.trial import Smooth, require, standard_trial
from matx.testing.unions import ATTACKS, Ascent
from matx.threat import ThreatModel

__all__ = [
    "CONTRACTS",
    "gives_the_same_in_any_batches",
    "has_a_table",
    "leaves_what_it_is_given_unchanged",
    "makes_figures_of_its_columns",
    "measures_one_value_a_sample",
    "names_every_model",
    "repeats_itself",
]

Columns = Mapping[Column, Tensor]
_COUNT = 9
_GRID = (Ascent(threat=ThreatModel(norm="linf", eps="2/255")),)


def _models(*names: str) -> dict[str, Smooth]:
    """Models of different answers."""
    models = {}
    for place, name in enumerate(names):
        models[name] = Smooth()
        with torch.no_grad():
            models[name].second.copy_(models[name].second.roll(place, 0) * (1.0 + place))
    return models


def _images(first: int = 0, count: int = _COUNT) -> MemorySplit:
    """Images of which most are right for a model, some close to its boundary."""
    trial = standard_trial(count=2 * _COUNT)
    labels = trial.labels.clone()
    labels[::4] = (labels[::4] + 1) % 5
    rows = slice(first, first + count)
    return MemorySplit(trial.images[rows].clone(), labels[rows], trial.indices[rows])


def _measured(
    metric: Metric,
    names: Sequence[str] = ("a", "b"),
    *,
    models: Mapping[str, Any] | None = None,
    images: MemorySplit | None = None,
    batch_size: int = _COUNT,
) -> Measured:
    """What an evaluation gives; AssertionError where it refuses."""
    settings = EvaluationSettings(metrics=[metric], attacks=ATTACKS, grid=_GRID, batch_size=batch_size)
    try:
        return measure(models or _models(*names), _images() if images is None else images, settings)
    except MatxError as error:
        raise AssertionError(f"{metric!r}: {error}") from error


def _columns(found: Measured) -> Columns:
    (columns,) = found.columns.values()
    return columns


def _figures(found: Measured) -> list[Figure]:
    (figures,) = found.figures.values()
    return list(figures)


def has_a_table(metric: Metric) -> None:
    """The caption of the table that shows its figures, or the empty string for the first one."""
    require(isinstance(metric.table, str), f"{metric!r}.table is no string: the caption of its table, or ''")


def measures_one_value_a_sample(metric: Metric) -> None:
    """(N,) bool or floating values of models that it was given, never NaN; of one model, of several, of one image."""
    for names, count in ((("a",), _COUNT), (("a", "b"), _COUNT), (("a", "b"), 1)):
        for column, values in _columns(_measured(metric, names, images=_images(count=count))).items():
            known = column.model in names and column.source in (None, *names)
            require(known, f"{metric!r} gave {column}, which names a model that it was not given")
            require(not bool(values.isnan().any()), f"{metric!r} gave NaN in {column.name!r}")
            require(not values.requires_grad, f"{metric!r} gave {column.name!r} with a graph: measure under no_grad")


def names_every_model(metric: Metric) -> None:
    """Every model has the same columns, whatever the models are called and however many there are."""
    for names in (("a",), ("a", "b"), ("other", "b", "a")):
        columns = _columns(_measured(metric, names))
        of = {name: sorted(column.name for column in columns if column.model == name) for name in names}
        for name in names[1:]:
            require(of[name] == of[names[0]], f"{metric!r} gave other columns for one model than for another")


def gives_the_same_in_any_batches(metric: Metric) -> None:
    """Columns are those of the samples: joined over batches of any size they are the same, up to rounding in fp32."""
    whole = _columns(_measured(metric))
    for size in (4, 1):
        _require_same(metric, whole, _columns(_measured(metric, batch_size=size)), f"in batches of {size}")


def repeats_itself(metric: Metric) -> None:
    """The same seed gives the same columns, whatever the global generators hold."""
    with forked(0):
        first = _columns(_measured(metric))
    with forked(1):
        second = _columns(_measured(metric))
    _require_same(metric, first, second, "the second time: draw from settings.seed and the samples' indices alone,")


def _require_same(metric: Metric, first: Columns, second: Columns, when: str) -> None:
    require(list(first) == list(second), f"{metric!r} gave other columns {when} than before")
    for column, values in first.items():
        same = torch.allclose(values.double(), second[column].double(), rtol=1e-4, atol=1e-5)
        require(same, f"{metric!r} gave other values of {column.name!r} {when} than before")


def leaves_what_it_is_given_unchanged(metric: Metric) -> None:
    """Weights are afterwards what they were before; an evaluation refuses a metric that writes into anything else."""
    models: Mapping[str, Any] = _models("a", "b")
    before = copy.deepcopy(models)
    _measured(metric, models=models)
    for name, model in models.items():
        for key, value in model.state_dict().items():
            same = torch.equal(value, before[name].state_dict()[key])
            require(same, f"{metric!r} changed {key} of the model that it was given")


def makes_figures_of_its_columns(metric: Metric) -> None:
    """Figures are a function of the columns joined over all samples; each is well formed."""
    found = _measured(metric)
    columns, first = _columns(found), _figures(found)
    _measured(metric, images=_images(_COUNT))
    for component in (metric, copy.deepcopy(metric)):
        again = list(component.summarise(columns))
        require(again == first, f"{metric!r} gave other figures of the same columns: it remembers something")
    for figure in first:
        _require_well_formed(metric, figure, {column.model for column in columns})


def _require_well_formed(metric: Metric, figure: Figure, models: set[str]) -> None:
    column = figure.column
    require(column.model in models, f"{metric!r} gave a figure of {column.model!r}, of which it has no column")
    low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
    inside = low - 1e-6 <= figure.value <= high + 1e-6
    require(inside, f"{metric!r} gave {column.name!r} {figure.value} outside its interval [{low}, {high}]")
    share = figure.correct is None or math.isclose(figure.value, figure.correct / max(1, figure.n))
    require(share, f"{metric!r} gave {column.name!r} {figure.value}, which is not {figure.correct} of {figure.n}")


CONTRACTS: tuple[Callable[[Any], None], ...] = (
    has_a_table,
    measures_one_value_a_sample,
    names_every_model,
    gives_the_same_in_any_batches,
    repeats_itself,
    leaves_what_it_is_given_unchanged,
    makes_figures_of_its_columns,
)
"""The contracts of this file."""
