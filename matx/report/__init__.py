"""Reports: results.json as Markdown, as a page of HTML with curves, and as a table on the terminal.

Everything here is a function of scores and metrics alone: no clock, no host, no order of a set, so that the report of a
resumed run equals the straight run's byte for byte.
"""

from matx.report.flags import FLAGS, read_flags, write_flags
from matx.report.page import curves, html
from matx.report.results import SCHEMA, Results, read_metrics, read_results, results, write_results
from matx.report.tables import markdown, radii_table, table

__all__ = [
    "FLAGS",
    "SCHEMA",
    "Results",
    "curves",
    "html",
    "markdown",
    "radii_table",
    "read_flags",
    "read_metrics",
    "read_results",
    "results",
    "table",
    "write_flags",
    "write_results",
]
