"""Whose adversarial examples break whom."""

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

_CLEAN = "clean"


@matx.metrics.register("transfer")
@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Transfer between models, for each threat model, source s and target t, with c_m an image that m gets right when
    clean and b_st one that t gets wrong on the example crafted on s:

    accuracy: the share of images without b_st. fooled: P(b_st | c_s, c_t, b_ss), of the images that both get right and
    whose example breaks the source, the share that breaks the target, too. shared: P(b_ss and b_tt | b_ss or b_tt),
    images that break both, each attacked itself, among those that break either.
    """

    table: ClassVar[str] = "Transfer, %"

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{clean: (N,) bool} of each model, and {threat key: (N,) bool}, right on the example, of each pair."""
        found = {Column(name, _CLEAN): correct(model, batch.images, batch.labels) for name, model in models.items()}
        for source in models:
            for threat, examples in settings.transferred(source).items():
                for name, model in models.items():
                    found[Column(name, threat.key, source)] = correct(model, examples, batch.labels)
        return found

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """Counts of every pair; each share counts the images of its condition."""
        pairs = [column for column in columns if column.source is not None]
        return [figure for column in pairs for figure in _figures(column, columns)]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return (cls(),)


def _figures(pair: Column, columns: Mapping[Column, Tensor]) -> list[Figure]:
    target, key, source = pair.model, pair.name, str(pair.source)
    broken = ~columns[pair]
    of_source, of_target = (~columns[Column(name, key, name)] for name in (source, target))
    both = columns[Column(source, _CLEAN)] & columns[Column(target, _CLEAN)] & of_source
    return [
        counted(Column(target, f"accuracy under {key}", source), ~broken),
        counted(Column(target, f"fooled under {key}", source), broken[both]),
        counted(Column(target, f"failures shared under {key}", source), (of_source & of_target)[of_source | of_target]),
    ]
