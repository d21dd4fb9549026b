"""Reports: results as Markdown, as a page of HTML with curves, and as tables on the terminal.

Everything here is a function of what is given, results and metrics: no clock, no host, no order of a set, so that the
report of a resumed run equals the straight run's byte for byte. What a run or an evaluation took by the clock is given,
too: a part of its own on a run's page, which `without_clock` leaves out.
"""

from matx.report.costs import without_clock
from matx.report.curves import curves
from matx.report.page import html, training_page
from matx.report.sheets import Seconds, Section, Sheet, sections
from matx.report.summary import failed, how, reasons
from matx.report.tables import markdown, tables

__all__ = [
    "Seconds",
    "Section",
    "Sheet",
    "curves",
    "failed",
    "how",
    "html",
    "markdown",
    "reasons",
    "sections",
    "tables",
    "training_page",
    "without_clock",
]
