"""Robust accuracy under each reported threat model and under all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor

import matx
from matx.data import Batch
from matx.interfaces import Column, Figure, MetricSettings, Model
from matx.measure import counted


@matx.metrics.register("robust")
@dataclass(frozen=True, kw_only=True)
class Robust:
    """Robust accuracy: the share of images that are right on everything that the attacks of a threat model find, the
    clean image included; `union`: under every threat model, per image (AND; Tramer and Boneh 2019, arXiv 1904.13000).
    """

    table: ClassVar[str] = ""

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{threat key: (N,) bool} and {union: (N,) bool} of each model; union alone where that is all that is known."""
        found: dict[Column, Tensor] = {}
        for name in models:
            findings = settings.findings(name)
            union = findings.clean.clone()
            for threat in settings.threats:
                union &= findings.robust[threat]
                if not settings.union_only:
                    found[Column(name, threat.key)] = findings.robust[threat]
            found[Column(name, "union")] = union
        return found

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """Counts with Wilson's interval."""
        return [counted(column, flags) for column, flags in columns.items()]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return (cls(),)
