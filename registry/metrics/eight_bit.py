"""Robust accuracy on adversarial examples as an 8-bit file would hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

import matx
from matx.data import Batch
from matx.interfaces import Column, Figure, MetricSettings, Model
from matx.measure import correct, counted, towards_clean


@matx.metrics.register("eight_bit")
@dataclass(frozen=True, kw_only=True)
class EightBit:
    """Accuracy on every example found for the union, each pixel rounded towards the clean one to a multiple of 1/255,
    which leaves no threat model. A sample that was never broken counts as right.
    """

    table: ClassVar[str] = ""

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{8-bit: (N,) bool} of each model."""
        return {Column(name, "8-bit"): _rounded(model, batch, settings, name) for name, model in models.items()}

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """Counts with Wilson's interval."""
        return [counted(column, flags) for column, flags in columns.items()]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return (cls(),)


def _rounded(model: Model, batch: Batch, settings: MetricSettings, name: str) -> Tensor:
    findings = settings.findings(name)
    right, reported = findings.clean.clone(), set(settings.threats)
    largest = {threat.norm: max(t.exact for t in reported if t.norm == threat.norm) for threat in reported}
    for search in findings.searches:
        if search.threat.exact > largest.get(search.threat.norm, 0) or len(search.examples) == 0:
            continue
        rows = search.rows[~search.robust].to(batch.images.device)
        coarse = towards_clean(search.examples.to(batch.images.device), batch.images[rows])
        broken = rows[~correct(model, coarse, batch.labels[rows])]
        right[broken.to(torch.device("cpu"))] = False
    return right
