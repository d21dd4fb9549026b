"""Reports: results.json as Markdown, as a page of HTML with curves, and as a table on the terminal.

Everything here is a function of what is given, scores and metrics: no clock, no host, no order of a set, so that the
report of a resumed run equals the straight run's byte for byte. `matx eval` also gives the seconds that it took.
"""

from matx.report.flags import FLAGS, read_flags, write_flags
from matx.report.page import curves, html
from matx.report.results import SCHEMA, Results, block, named, read_metrics, read_results, results, write_results
from matx.report.sheets import Seconds
from matx.report.tables import markdown, tables
from matx.report.verdicts import NOT_CHECKED, failed, put_verdicts, reasons

__all__ = [
    "FLAGS",
    "NOT_CHECKED",
    "SCHEMA",
    "Results",
    "Seconds",
    "block",
    "curves",
    "failed",
    "html",
    "markdown",
    "named",
    "put_verdicts",
    "read_flags",
    "read_metrics",
    "read_results",
    "reasons",
    "results",
    "tables",
    "write_flags",
    "write_results",
]
