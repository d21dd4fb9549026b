"""Robust accuracy at the radii of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor

import matx
from matx.data import Batch
from matx.interfaces import Column, Figure, MetricSettings, Model
from matx.measure import counted, in_order


@matx.metrics.register("radii")
@dataclass(frozen=True, kw_only=True)
class Radii:
    """Robust accuracy by radius: of each norm of the grid at its radii and at the reported one, ascending. What breaks
    an image at a radius breaks it at every larger one, so accuracy never rises. Without a grid there are no columns.
    """

    table: ClassVar[str] = "Accuracy by radius, %"

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{threat key: (N,) bool} of each model."""
        norms = {threat.norm for threat in settings.grid}
        radii = in_order({*settings.grid, *(threat for threat in settings.threats if threat.norm in norms)})
        return {
            Column(name, threat.key): settings.findings(name).robust[threat]
            for name in (models if radii else ())
            for threat in radii
        }

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """Counts with Wilson's interval."""
        return [counted(column, flags) for column, flags in columns.items()]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return (cls(),)
