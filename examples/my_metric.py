"""A plug-in: one more metric, in one file. Its column is in every table, results.json, the reports and `matx compare`.

matx show metrics.top_k --plugin examples/my_metric.py
matx check metrics.top_k --plugin examples/my_metric.py
matx eval RUN --metric top_k --plugin examples/my_metric.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor

import matx
from matx.data import Batch
from matx.interfaces import Column, Figure, MetricSettings, Model
from matx.measure import counted
from matx.options import Range


@matx.metrics.register("top_k")
@dataclass(frozen=True, kw_only=True)
class TopK:
    """Top-k accuracy: the share of clean images whose label is among the k classes of largest logits. A tie counts
    against the label, so that constant logits are wrong.

        right(x) = #{ c : z_c(x) >= z_y(x) } <= k
    """

    # Options are fields; their annotation says what gin files and `matx show` allow.
    k: Annotated[int, Range(1)] = 2
    """How many answers a model has for each image."""
    table: ClassVar[str] = ""
    """'': a column of the first table, beside clean and robust accuracy; else the caption of a table of its own."""

    @torch.no_grad()
    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{top-k: (N,) bool} of each model."""
        # One value a sample and model, (N,) bool or floating: they are stored, and joined over all batches.
        return {
            Column(name, f"top-{self.k}"): _place(model(batch.images), batch.labels) <= self.k
            for name, model in models.items()
        }

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """Counts with Wilson's interval."""
        # The columns of all samples at once: a figure is a function of them and of nothing else.
        return [counted(column, flags) for column, flags in columns.items()]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """One answer, as clean accuracy has; several: the contracts are tried on these."""
        return (cls(k=1), cls(k=3))


def _place(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) int64: how many logits are at least the label's, its own among them; of NaN more than there are classes."""
    own = logits.gather(1, labels[:, None])
    return (~(logits < own)).sum(1)
