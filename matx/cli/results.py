"""Results on the terminal: the table, and where everything lies."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matx.cli.options import results_console, say

if TYPE_CHECKING:
    from matx.compare import Comparison
    from matx.experiment import Experiment
    from matx.report import Seconds
    from matx.results import Results
    from matx.run import Measured
    from matx.runtime.folder import RunFolder

__all__ = ["show_beside", "show_comparison", "show_results", "show_run"]


def show_run(folder: RunFolder, experiment: Experiment) -> None:
    """The tables of a finished run and its files."""
    from matx.consent import consent
    from matx.results import NOT_CHECKED, read_results
    from matx.runtime.tracking import trackers_of

    show_results(read_results(folder.results))
    command = shlex.join(["matx", "eval", str(folder.path), *consent().words()])
    say(f"sanity      {NOT_CHECKED}: `{command}` checks every score")
    say(f"seconds     {_seconds(folder)}")
    say(f"run folder  {folder.path}")
    files = {
        "results": folder.results,
        "report": folder.results.with_name("report.html"),
        "weights": folder.best,
    }
    for what, path in files.items():
        say(f"{what:<11} {path}")
    for tracker in trackers_of(experiment):
        say(f"curves      {tracker.where(folder.path)}")


def show_beside(folder: RunFolder, measured: Measured | None) -> None:
    """The figures of a run beside those that were measured of its recipe and its baseline, and what they say."""
    if measured is None:
        return
    from matx.cli.tables import show_table, text_table
    from matx.results import mean_of, read_results, scores_at

    found = read_results(folder.results)
    scores = scores_at(found.scores, checkpoint=found.checkpoint_of("best"), weights="raw")
    means = [mean_of(scores, found.scored, metric, column) for metric, column, _ in measured.columns]
    own = ["-" if mean is None else f"{100 * mean:.1f}" for mean in means]
    rows = [
        [f"{one.recipe}, {len(one.seeds)} seeds", *map(_spread, one.figures), f"{one.passes:g}"]
        for one in measured.methods
    ]
    rows.append(["this run", *own, f"{sum(found.passes.values()):g}"])
    head = ["method", *(heading for _, _, heading in measured.columns), "passes an image"]
    show_table(results_console(), text_table("beside what was measured before", head, rows))
    say(measured.sentence)


def _spread(values: Sequence[float]) -> str:
    """A mean with the lowest and the highest seed."""
    mean, low, high = (100 * value for value in values)
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _seconds(folder: RunFolder) -> str:
    """What training and evaluation took, over all sessions of the run."""
    spent = json.loads(folder.timing.read_text(encoding="utf-8"))["seconds"]
    return ", ".join(f"{what} {seconds:.1f}" for what, seconds in spent.items())


def show_results(found: Results, seconds: Seconds | None = None) -> None:
    """The tables of each checkpoint that the results hold, how they were measured, and what does not pass."""
    from matx.cli.tables import show_table
    from matx.report import how, reasons, tables

    stdout = results_console()
    for one in tables(found, seconds):
        if isinstance(one, str):
            say(one)
        else:
            show_table(stdout, one)
    for line in how(found):
        say(f"measured    {line}")
    for line in reasons(found):
        say(f"sanity      {line}")


def show_comparison(found: Comparison) -> None:
    """The table of methods and differences, and its notes."""
    from matx.cli.tables import show_table
    from matx.compare import as_table, notes

    show_table(results_console(), as_table(found))
    for note in notes(found):
        say(note)
