"""What was measured, batch by batch, so that an interruption loses nothing; others say where it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from matx.interfaces import Column

__all__ = ["MeasuredColumns", "Records", "SearchRecord", "place"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchRecord:
    """One search on one batch; tensors on the CPU. Clean images are recorded as a search without an attack."""

    threat: str
    """Its key; 'clean' for the clean images."""
    attack: str
    """How the attack was configured; '' for the clean images."""
    rows: Tensor
    """(n,) int64, the samples' places in the split."""
    indices: Tensor
    """(n,) int64, the samples' indices in their dataset."""
    labels: Tensor
    """(n,) int64."""
    robust: Tensor
    """(n,) bool: right after this attack (right at all, for the clean images)."""
    examples: Tensor
    """(k, C, H, W) fp32 in [0,1], what broke the k others, in order; k = 0 for the clean images."""
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredColumns:
    """What one metric measured on one batch."""

    rows: Tensor
    columns: Mapping[Column, Tensor]
    attacked: Sequence[str]
    """The models whose attacks had run by then, so that their robust samples are known again."""


class Records(Protocol):
    """Where records are kept."""

    def read_search(self, where: str, rows: Tensor) -> SearchRecord | None:
        """The search at that place, if there is one of exactly these rows."""
        ...

    def write_search(self, where: str, record: SearchRecord) -> None:
        """Keep a search."""
        ...

    def read_columns(self, where: str, rows: Tensor) -> MeasuredColumns | None:
        """The columns at that place, if there are some of exactly these rows."""
        ...

    def write_columns(self, where: str, record: MeasuredColumns) -> None:
        """Keep columns."""
        ...


def place(model: str, threat: str, search: str, batch: int) -> str:
    """Where a search is kept: `MODEL/NORM_EPS/SEARCH/BATCH`, with '8/255' written as '8-255'."""
    return f"{model}/{threat.replace(':', '_').replace('/', '-')}/{search}/{batch:05}"
