"""What a metric measures, on what it is asked, and the figures that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self, runtime_checkable

from torch import Tensor

from matx.data import Batch
from matx.errors import OptionError
from matx.interfaces.attack_input import Model
from matx.threat import ThreatModel

__all__ = ["Column", "Figure", "Findings", "Metric", "MetricSettings", "Search"]


class Column(NamedTuple):
    """What one value a sample speaks of."""

    model: str
    name: str
    """`clean`, a threat model's key, `union`, or what the metric calls it."""
    source: str | None = None
    """The peer whose adversarial examples the model was asked; None: the model's own, or none."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure over all samples: a count, `correct` of `n`, or any other `value`."""

    column: Column
    n: int
    """The samples that it counts."""
    value: float
    """correct / n, or the value."""
    correct: int | None = None
    low: float | None = None
    """The ends of the 95 % interval, where there is one (Wilson's, for a count)."""
    high: float | None = None

    def __post_init__(self) -> None:
        if self.n < 0 or (self.correct is not None and not 0 <= self.correct <= self.n):
            raise OptionError(f"Figure: got {self.correct} of {self.n}, allowed: 0 to n samples")


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """What one search found on one batch."""

    threat: ThreatModel
    rows: Tensor
    """(m,) int64: the places in the batch of the samples that it attacked."""
    robust: Tensor
    """(m,) bool: right on what it found."""
    examples: Tensor
    """(k, C, H, W): what broke the k others, in order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What all searches found on one batch of one model. Samples that are broken are not searched again."""

    clean: Tensor
    """(N,) bool: right on the clean image."""
    robust: Mapping[ThreatModel, Tensor]
    """(N,) bool for each threat model, those of the grid among them: right on every example found in it. A sample that
    is broken at a radius is broken at every larger one of the norm."""
    searches: Sequence[Search]


class MetricSettings(Protocol):
    """How is measured, and what was already found: attacks run once a batch and model, whichever metrics ask."""

    @property
    def threats(self) -> Sequence[ThreatModel]:
        """The reported threat models."""
        ...

    @property
    def grid(self) -> Sequence[ThreatModel]:
        """Further radii."""
        ...

    @property
    def union_only(self) -> bool:
        """True: samples broken under one threat model are not attacked under the next."""
        ...

    @property
    def batch_size(self) -> int:
        """How many images a forward may take."""
        ...

    @property
    def seed(self) -> int:
        """Of the draws."""
        ...

    def findings(self, model: str) -> Findings:
        """What the configured attacks find on this batch against a model."""
        ...

    def transferred(self, source: str) -> Mapping[ThreatModel, Tensor]:
        """(N, C, H, W) examples crafted on a source for each reported threat model, for other models to be asked.

        By the first attack of the threat model, which searches on where it would stop at the first misclassified image:
        such images lie just across the source's boundary and transfer badly.
        """
        ...


@runtime_checkable
class Metric(Protocol):
    """What is measured of models on a batch, and the figures of all batches: a frozen, keyword-only dataclass."""

    table: ClassVar[str]
    """The caption of the table that shows its figures; '': they are columns of the first one."""

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{column: (N,) bool or floating}; models are in eval mode, frozen, and take images in [0,1].

        Every batch gives the same columns, so that they can be joined. Draws are keyed by `settings.seed` and the
        sample's index, so that neither batches nor interruptions change them.
        """
        ...

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """The figures of the columns joined over all samples, in the order in which they are shown."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts."""
        ...
