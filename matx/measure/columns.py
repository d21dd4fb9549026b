"""What metrics return is not trusted: their columns of a batch, the joined ones, and their figures are checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from matx.errors import ModelError
from matx.interfaces import Column, Figure, Metric, copied, refuse_writes
from matx.measure.settings import metric_name

__all__ = ["Columns", "checked_columns", "checked_figures", "joined"]

Columns = Mapping[Column, Tensor]


def checked_columns(name: str, found: Columns, count: int) -> dict[Column, Tensor]:
    """The columns of a batch of so many samples, on the CPU; ModelError where one has no value for each sample."""
    for column, values in found.items():
        if not isinstance(values, Tensor) or not (values.dtype == torch.bool or values.is_floating_point()):
            what = values.dtype if isinstance(values, Tensor) else type(values).__name__
            raise _refusal(name, column, f"as {what}", "a tensor of bool or floating values")
        if tuple(values.shape) != (count,):
            raise _refusal(name, column, f"of shape {tuple(values.shape)}", f"({count},), one value a sample")
    return {column: values.cpu() for column, values in found.items()}


def joined(name: str, parts: Sequence[Columns]) -> Columns:
    """The columns of all batches; ModelError where one has other columns than the first."""
    for part in parts:
        if list(part) != list(parts[0]):
            raise ModelError(f"metrics.{name}: got other columns for one batch than for another, allowed: the same")
    return {column: torch.cat([part[column] for part in parts]) for column in parts[0]}


def checked_figures(metric: Metric, columns: Columns) -> Sequence[Figure]:
    """A metric's figures; ModelError where one is there twice or is no number, or the metric wrote into a column."""
    name, given = metric_name(metric), copied(columns)
    found = tuple(metric.summarise(given))
    refuse_writes(metric, _by_name(given), _by_name(columns))
    seen: set[Column] = set()
    for figure in found:
        if figure.column in seen:
            raise _refusal(name, figure.column, "twice", "each column once")
        if not all(math.isfinite(number) for number in (figure.value, figure.low, figure.high) if number is not None):
            raise _refusal(name, figure.column, f"as {figure.value}", "finite figures and intervals")
        seen.add(figure.column)
    return found


def _by_name(columns: Columns) -> dict[str, Tensor]:
    return {f"{column.name} of {column.model}": values for column, values in columns.items()}


def _refusal(name: str, column: Column, got: str, allowed: str) -> ModelError:
    return ModelError(f"metrics.{name}: got {column.name!r} of {column.model!r} {got}, allowed: {allowed}")
