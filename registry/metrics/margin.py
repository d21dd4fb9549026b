"""How far the nearest adversarial example is from an image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

import matx
from matx.data import Batch
from matx.errors import OptionError
from matx.interfaces import Attack, Column, Figure, MetricSettings, Model
from matx.measure import counted, distances
from matx.options import Range
from matx.threat import ThreatModel


@matx.metrics.register("margin")
@dataclass(frozen=True, kw_only=True)
class Margin:
    """Margin: the norm of the smallest perturbation found that changes a right answer,

        margin(x) = min over attacks of ||x' - x||,   x' in [0,1] misclassified

    for each norm of the minimum-norm attacks, an upper bound of the distance to the decision boundary. It is 0 where
    the clean image is misclassified, and inf where nothing was found: such an image counts as above every radius.

    Figures: the median with its order-statistic interval (exact, at least 95 %; none of fewer than 6 images), left out
    where more than half of the images have no perturbation; and the curve, the share of images with a margin over each
    of the `shares` of the radius of the norm's first attack, which serves for nothing else.
    """

    attacks: Sequence[Attack]
    """Of kind minimum_norm; `matx eval --metric margin` takes those of the packaged recipe metrics/margin."""
    shares: Sequence[Annotated[float, Range(0, open="low")]] = (0.5, 1.0, 2.0)
    table: ClassVar[str] = "Margin: norm of the smallest perturbation found, and % of images over a radius"

    def __post_init__(self) -> None:
        for name in ("attacks", "shares"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        wrong = [attack for attack in self.attacks if attack.kind != "minimum_norm"]
        if wrong or not self.attacks:
            got = repr(wrong[0]) if wrong else "none"
            raise OptionError("attacks", got=got, allowed="one or more of kind minimum_norm")

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{margin NORM: (N,) float64} of each model."""
        found: dict[Column, Tensor] = {}
        for name, model in models.items():
            for attack in self.attacks:
                column = Column(name, f"margin {attack.threat.norm}")
                sizes = distances(model, attack, batch, settings.seed)
                found[column] = torch.minimum(found.get(column, sizes), sizes)
        return found

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """Of each model and norm the median, and the counts over each radius with Wilson's interval."""
        return [figure for column, margins in columns.items() for figure in self._figures(column, margins)]

    def _figures(self, column: Column, margins: Tensor) -> Iterator[Figure]:
        norm = column.name.rpartition(" ")[2]
        yield from _median(Column(column.model, f"median {norm}"), margins)
        threat = next(attack.threat for attack in self.attacks if attack.threat.norm == norm)
        for share in self.shares:
            radius = threat.exact * Fraction(str(share))
            yield counted(Column(column.model, f"over {norm}:{_written(threat, radius)}"), margins > float(radius))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Two norms; two attacks of one norm without a curve."""
        attack: Any = matx.attacks["deepfool"]
        linf, l2 = ThreatModel(norm="linf", eps="8/255"), ThreatModel(norm="l2", eps=0.5)
        one, two, longer = attack(threat=linf, steps=5), attack(threat=l2, steps=5), attack(threat=l2, steps=10)
        return (cls(attacks=[one, two]), cls(attacks=[two, longer], shares=()))


def _median(column: Column, margins: Tensor) -> Iterator[Figure]:
    """The median, if it is finite: of an even number of images the mean of the middle two."""
    from scipy.stats import quantile_test  # slow to import, and every command imports this file

    value = float(np.median(margins.numpy()))
    if not math.isfinite(value):
        return
    low, high = quantile_test(margins.numpy(), q=value, p=0.5).confidence_interval(0.95)
    known = math.isfinite(low) and math.isfinite(high)
    ends = (float(low), float(high)) if known else (None, None)
    yield Figure(column=column, n=len(margins), value=value, low=ends[0], high=ends[1])


def _written(threat: ThreatModel, radius: Fraction) -> str:
    """A radius as the threat model's own is written: '4/255', or 0.25."""
    return str(radius) if "/" in str(threat.eps) else f"{float(radius):g}"
