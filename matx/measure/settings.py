"""What is measured, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matx.data import Split
from matx.errors import OptionError
from matx.interfaces import Attack, Metric
from matx.measure.threats import by_threat
from matx.randomness import seed_for
from matx.registration import REGISTRIES

__all__ = ["EvaluationSettings", "metric_name"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Everything that figures depend on beside models and images. Equal settings and seeds give equal figures, whoever
    asks: the command line, a run, or a call in Python."""

    metrics: Sequence[Metric] = ()
    attacks: Sequence[Attack] = ()
    """The reported attacks; those of one threat model count together."""
    grid: Sequence[Attack] = ()
    """Attacks at further radii."""
    seed: int = 0
    purpose: str = "test"
    """Draws of other purposes differ under the same seed."""
    images: int | None = None
    """At most so many, from the first; None: all."""
    batch_size: int = 256
    union_only: bool = False
    """Samples that are broken under one threat model are not attacked under the next: no figures a threat model."""

    def __post_init__(self) -> None:
        for name in ("metrics", "attacks", "grid"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        names = [metric_name(metric) for metric in self.metrics]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise OptionError(f"Evaluation.metrics: got {twice!r} twice, allowed: each metric once")
        if self.batch_size < 1:
            raise OptionError(f"batch_size: got {self.batch_size}, allowed: 1 or more")
        by_threat((*self.attacks, *self.grid))

    @property
    def draws(self) -> int:
        """The seed of the draws of this purpose."""
        return seed_for(self.seed, self.purpose)

    def count(self, split: Split) -> int:
        """How many images of a split count; OptionError where none does."""
        count = min(len(split.labels), len(split.labels) if self.images is None else self.images)
        if count < 1:
            raise OptionError("evaluate: got no images, allowed: at least one")
        return count


def metric_name(metric: Metric) -> str:
    """The name under which a metric is registered; of one made in Python alone, its class's in lower case."""
    return REGISTRIES["metrics"].label(metric).lower()
