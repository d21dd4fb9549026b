"""Bad metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from matx.data import Batch
from matx.interfaces import Column, Figure, MetricSettings, Model
from matx.measure import correct, counted


@dataclass(frozen=True, kw_only=True)
class Bad:
    """Accuracy on the images at half their contrast, but something may be wrong."""

    table: ClassVar[Any] = "Accuracy at half the contrast"

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        return {Column(name, "pale"): correct(model, batch.images / 2, batch.labels) for name, model in models.items()}

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        return [counted(column, flags) for column, flags in columns.items()]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return (cls(),)


@dataclass(frozen=True, kw_only=True)
class Unplaced(Bad):
    """No table."""

    table: ClassVar[Any] = None


@dataclass(frozen=True, kw_only=True)
class Measuring(Bad):
    """Each column changed by a function of (its values, the batch); `rename` changes the columns."""

    change: Callable[[Tensor, Batch], Tensor] = lambda values, batch: values
    rename: Callable[[Mapping[Column, Tensor], Batch], Mapping[Column, Tensor]] = lambda found, batch: found

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        found = super().measure(models, batch, settings)
        return self.rename({column: self.change(values, batch) for column, values in found.items()}, batch)


@dataclass(frozen=True, kw_only=True)
class Training(Bad):
    """Changes the weights."""

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        found = super().measure(models, batch, settings)
        for model in models.values():
            assert isinstance(model, torch.nn.Module)
            for parameter in model.parameters():
                parameter.mul_(0.5)
        return found


@dataclass(frozen=True, kw_only=True)
class Summarising(Bad):
    """Other figures; `calls` counts."""

    change: Callable[[list[Figure], Mapping[Column, Tensor], int], Sequence[Figure]]
    calls: list[int] = field(default_factory=list)

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        self.calls.append(0)
        return self.change(list(super().summarise(columns)), columns, len(self.calls))


def _writing(values: Tensor, batch: Batch) -> Tensor:
    batch.images.mul_(0.9)
    return values


def _relabelling(values: Tensor, batch: Batch) -> Tensor:
    batch.labels.zero_()
    return values


def _reindexing(values: Tensor, batch: Batch) -> Tensor:
    batch.indices.add_(1)
    return values


def _erasing(figures: list[Figure], columns: Mapping[Column, Tensor], calls: int) -> list[Figure]:
    for values in columns.values():
        values.zero_()
    return figures


def _of(column: Column, **changes: Any) -> Figure:
    return Figure(**{"column": column, "n": 9, "value": 0.5, **changes})


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    ("has_a_table", Unplaced, "table is no string"),
    ("measures_one_value_a_sample", lambda: Measuring(change=lambda v, b: v[:-1]), "one value a sample"),
    ("measures_one_value_a_sample", lambda: Measuring(change=lambda v, b: v.long()), "int64"),
    ("measures_one_value_a_sample", lambda: Measuring(change=lambda v, b: v / 0.0), "NaN"),
    ("measures_one_value_a_sample", lambda: Measuring(change=lambda v, b: v.float().requires_grad_()), "with a graph"),
    (
        "measures_one_value_a_sample",
        lambda: Measuring(rename=lambda f, b: {Column("someone", c.name): v for c, v in f.items()}),
        "names a model that it was not given",
    ),
    (
        "names_every_model",
        lambda: Measuring(rename=lambda f, b: dict(list(f.items())[:1])),
        "other columns for one model than for another",
    ),
    (
        "gives_the_same_in_any_batches",
        lambda: Measuring(change=lambda v, b: v.float() - v.float().mean()),
        "in batches of 4",
    ),
    (
        "gives_the_same_in_any_batches",
        lambda: Measuring(rename=lambda f, b: {Column(c.model, f"of {len(v)}"): v for c, v in f.items()}),
        "other columns for one batch than for another",
    ),
    ("repeats_itself", lambda: Measuring(change=lambda v, b: torch.rand(len(v))), "the second time"),
    ("leaves_what_it_is_given_unchanged", lambda: Measuring(change=_writing), "wrote into its input (images)"),
    ("leaves_what_it_is_given_unchanged", lambda: Measuring(change=_relabelling), "wrote into its input (labels)"),
    ("leaves_what_it_is_given_unchanged", lambda: Measuring(change=_reindexing), "wrote into its input (indices)"),
    ("leaves_what_it_is_given_unchanged", Training, "changed first of the model"),
    (
        "makes_figures_of_its_columns",
        lambda: Summarising(change=lambda f, c, calls: [_of(f[0].column, n=calls)]),
        "remembers something",
    ),
    ("makes_figures_of_its_columns", lambda: Summarising(change=lambda f, c, calls: [*f, f[0]]), "twice"),
    ("leaves_what_it_is_given_unchanged", lambda: Summarising(change=_erasing), "wrote into its input (pale of a"),
    (
        "makes_figures_of_its_columns",
        lambda: Summarising(change=lambda f, c, calls: [_of(Column("someone", "pale"))]),
        "of which it has no column",
    ),
    (
        "makes_figures_of_its_columns",
        lambda: Summarising(change=lambda f, c, calls: [_of(f[0].column, value=torch.inf)]),
        "allowed: finite figures",
    ),
    (
        "makes_figures_of_its_columns",
        lambda: Summarising(change=lambda f, c, calls: [_of(f[0].column, low=0.6, high=0.7)]),
        "outside its interval",
    ),
    (
        "makes_figures_of_its_columns",
        lambda: Summarising(change=lambda f, c, calls: [_of(f[0].column, correct=2)]),
        "which is not 2 of 9",
    ),
]
"""(contract, a component that breaks it, words of the sentence)."""
