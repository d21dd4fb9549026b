"""Accuracy on the images as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor

import matx
from matx.data import Batch
from matx.interfaces import Column, Figure, MetricSettings, Model
from matx.measure import correct, counted


@matx.metrics.register("clean")
@dataclass(frozen=True, kw_only=True)
class Clean:
    """Clean accuracy: the share of images with argmax z(x) = y. Logits that are not finite count as wrong."""

    table: ClassVar[str] = ""

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{clean: (N,) bool} of each model."""
        return {Column(name, "clean"): correct(model, batch.images, batch.labels) for name, model in models.items()}

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """Counts with Wilson's interval."""
        return [counted(column, flags) for column, flags in columns.items()]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return (cls(),)
