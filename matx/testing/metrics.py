"""What a metric promises."""

from __future__ import annotations

from matx.interfaces import Metric
from matx.testing.trial import require

__all__ = ["CONTRACTS"]


def has_a_table(metric: Metric) -> None:
    """Its figures stand in a table: a caption, or the empty string for the first one."""
    require(isinstance(metric.table, str), f"{metric!r}.table is no string: the caption of its table, or ''")


CONTRACTS = (has_a_table,)
