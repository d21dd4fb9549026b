"""Whether models give the same answer."""

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
from matx.measure import counted


@matx.metrics.register("agreement")
@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of a model with each other one, its `source`: the share of images with

        argmax z_model(x) = argmax z_source(x)

    right or wrong, on clean images and, for each threat model, on the adversarial examples crafted on the source by the
    threat model's first attack. Logits that are not finite agree with nothing. One model alone has no columns.
    """

    table: ClassVar[str] = "Agreement: the same class as the source, %"

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{clean or threat key: (N,) bool} of each ordered pair of different models."""
        found: dict[Column, Tensor] = {}
        for source in models if len(models) > 1 else ():
            examples = {threat.key: images for threat, images in settings.transferred(source).items()}
            for name, images in {"clean": batch.images, **examples}.items():
                expected = _classes(models[source], images)
                for model in models:
                    if model != source:
                        found[Column(model, name, source)] = (_classes(models[model], images) == expected) & (
                            expected >= 0
                        )
        return {column: found[column] for model in models for column in found if column.model == model}

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """Counts with Wilson's interval."""
        return [counted(column, flags) for column, flags in columns.items()]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return (cls(),)


@torch.no_grad()
def _classes(model: Model, images: Tensor) -> Tensor:
    """(N,) int64: the class answered; -1 where logits are not finite."""
    logits = model(images)
    return torch.where(logits.isfinite().all(1), logits.argmax(1), -1)
