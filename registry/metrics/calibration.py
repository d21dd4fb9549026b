"""Whether a model is right as often as it is confident."""

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
from matx.options import Range

_CLEAN = "clean"


@matx.metrics.register("calibration")
@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599) and Brier score (Brier 1950), on clean images and,
    for each threat model, on adversarial examples crafted on the model itself by the threat model's first attack, which
    searches on after the first misclassified image.

        ECE   = sum_b |B_b| / N | accuracy(B_b) - confidence(B_b) |,   B_b: confidence in ((b-1)/bins, b/bins]
        Brier = 1/N sum_i sum_c (p_ic - [c = y_i])^2,   0 to 2

    with p = softmax(z) and the confidence of an image its largest p. Logits that are not finite count as a wrong answer
    of confidence 1. The interval of the Brier score is Student's of a mean; ECE has none: resampled, it grows.
    """

    bins: Annotated[int, Range(1)] = 15
    table: ClassVar[str] = "Calibration"

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{correct X: (N,) bool, confidence X: (N,) fp32, Brier X: (N,) fp32} of each model, X: clean or threat key."""
        found: dict[Column, Tensor] = {}
        for name, model in models.items():
            found |= _columns(name, _CLEAN, model, batch.images, batch.labels)
            for threat, examples in settings.transferred(name).items():
                found |= _columns(name, threat.key, model, examples, batch.labels)
        return found

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """ECE and Brier score of each model, clean and under each threat model."""
        found: list[Figure] = []
        for column, right in columns.items():
            word, _, images = column.name.partition(" ")
            if word == "correct":
                confidence = columns[Column(column.model, f"confidence {images}")]
                error = _calibration_error(confidence.double(), right, self.bins)
                found.append(Figure(column=Column(column.model, f"ECE {images}"), n=len(right), value=error))
                brier = Column(column.model, f"Brier {images}")
                found.append(_mean(brier, columns[brier].double()))
        return found

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return (cls(), cls(bins=1))


@torch.no_grad()
def _columns(name: str, images: str, model: Model, inputs: Tensor, labels: Tensor) -> dict[Column, Tensor]:
    logits = model(inputs).double()
    finite = logits.isfinite().all(1)
    p = logits.softmax(1)
    one_hot = torch.nn.functional.one_hot(labels, logits.shape[1])
    return {
        Column(name, f"correct {images}"): (logits.argmax(1) == labels) & finite,
        Column(name, f"confidence {images}"): torch.where(finite, p.amax(1), 1.0).float(),
        Column(name, f"Brier {images}"): torch.where(finite, (p - one_hot).square().sum(1), 2.0).float(),
    }


def _calibration_error(confidence: Tensor, right: Tensor, bins: int) -> float:
    """|mean confidence - accuracy| of each bin, weighted by its share of the images: the sums need no division."""
    index = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, right.double() - confidence)
    return float(gaps.abs().sum() / len(right))


def _mean(column: Column, values: Tensor) -> Figure:
    from scipy.stats import t as student  # slow to import, and every command imports this file

    count, mean = len(values), float(values.mean())
    if count < 2:
        return Figure(column=column, n=count, value=mean)
    half = float(student.ppf(0.975, count - 1)) * float(values.std()) / count**0.5
    return Figure(column=column, n=count, value=mean, low=max(0.0, mean - half), high=min(2.0, mean + half))
