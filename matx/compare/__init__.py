"""Comparing runs: paired by seed, with intervals, and no words that the data does not carry."""

from matx.compare.gather import ComparedColumn, Figures, Gathered, Method, gather
from matx.compare.page import as_page
from matx.compare.show import as_json, as_markdown, as_table, notes
from matx.compare.statistics import Interval, crossed_bootstrap, mcnemar, paired_bootstrap, paired_t
from matx.compare.table import Comparison, Difference, compare

__all__ = [
    "ComparedColumn",
    "Comparison",
    "Difference",
    "Figures",
    "Gathered",
    "Interval",
    "Method",
    "as_json",
    "as_markdown",
    "as_page",
    "as_table",
    "compare",
    "crossed_bootstrap",
    "gather",
    "mcnemar",
    "notes",
    "paired_bootstrap",
    "paired_t",
]
