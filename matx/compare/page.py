"""A comparison as a page: figures of every method, differences with intervals, curves overlaid, and the notes."""

from __future__ import annotations

from collections.abc import Iterator

from matx.compare.show import heads, notes, rows
from matx.compare.table import Comparison
from matx.pages import Figure, Page, Part, Sheet, intervals, paths, render
from matx.report import curves
from matx.runtime.folder import RunFolder
from matx.runtime.journal import read_rows

__all__ = ["as_page"]


def as_page(comparison: Comparison) -> str:
    """One self-contained file of HTML."""
    names = [method.name for method in comparison.methods]
    table = [[cell.replace("\n", "; ") for cell in row] for row in rows(comparison)]
    parts = [
        Part(heading="Differences", figures=list(_differences(comparison))),
        Part(
            heading="Figures",
            sheets=[Sheet(caption=f"Checkpoint {comparison.checkpoint}", head=heads(comparison), rows=table)],
        ),
        Part(heading="Training", figures=list(_training(comparison))),
    ]
    shown = [part for part in parts if part.figures or part.sheets]
    return render(Page(title=" and ".join(names), says=notes(comparison), parts=shown))


def _differences(comparison: Comparison) -> Iterator[Figure]:
    """Each method minus the first, a dot with its interval a column: over seeds, and over seeds and images."""
    base = comparison.methods[0].name
    count = {column.heading: column.count for column in comparison.columns}
    for name, found in comparison.differences.items():
        drawn = []
        for difference in found:
            scale = 100 if count[difference.column] else 1
            for what, interval in (("t over seeds", difference.t), ("bootstrap", difference.bootstrap)):
                if interval is not None and count[difference.column]:
                    drawn.append(
                        {
                            "series": what, "place": difference.column, "value": scale * difference.mean,
                            "low": scale * interval.low, "high": scale * interval.high,
                        }
                    )  # fmt: skip
        if drawn:
            says = f"Differences of {name} from {base} in points, with 95 % intervals; 0 is no difference."
            yield intervals(f"{name} minus {base}", says, drawn, across="", up="points")


def _training(comparison: Comparison) -> Iterator[Figure]:
    """Validation scores of every run by epoch, a colour a method."""
    drawn = [
        {"series": method.name, "line": f"seed {run.seed}", "x": x, "y": y}
        for method in comparison.methods
        for run in method.runs
        if RunFolder(run.path).metrics.is_file()
        for x, y in curves(read_rows(RunFolder(run.path).metrics), ()).get("score", {}).get("", ())
    ]
    if drawn:
        yield paths("Validation score", "A line a run, a colour a method.", drawn, across="epoch", up="score")
