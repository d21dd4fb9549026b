"""A comparison as text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from matx.compare.gather import ComparedColumn, Method
from matx.compare.statistics import Interval
from matx.compare.table import ENOUGH_SEEDS, Comparison, Difference
from matx.text import in_markdown, printable

__all__ = ["as_json", "as_markdown", "as_table", "heads", "notes", "rows"]


def rows(comparison: Comparison) -> Iterator[list[str]]:
    """A row for each method's figures, then one for each difference from the first."""
    for method in comparison.methods:
        seeds = ", ".join(str(run.seed) for run in method.runs)
        cells = [_values([run.means[column.heading] for run in method.runs], column) for column in comparison.columns]
        yield [method.name, f"seed {seeds}", *cells]
    base = comparison.methods[0].name
    for name, differences in comparison.differences.items():
        label = "these two models, not the methods" if differences[0].single else f"{len(differences[0].by_seed)} seeds"
        cells = [_difference(found, column) for found, column in zip(differences, comparison.columns, strict=True)]
        yield [f"{name} - {base}", label, *cells]


def _figure(value: float, column: ComparedColumn, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f}" if column.count else f"{value:{sign}.4g}"


def _values(values: list[float], column: ComparedColumn) -> str:
    """Every seed's value, and the mean where there are several."""
    shown = " ".join(_figure(value, column) for value in values)
    return shown if len(values) == 1 else f"{_figure(sum(values) / len(values), column)} ({shown})"


def _difference(difference: Difference, column: ComparedColumn) -> str:
    def ends(interval: Interval) -> str:
        return f"[{_figure(interval.low, column, '+')}, {_figure(interval.high, column, '+')}]"

    parts = [_figure(difference.mean, column, "+")]
    if difference.t is not None:
        parts.append(f"t {ends(difference.t)}")
    if difference.bootstrap is not None:
        parts.append(f"{'images' if difference.single else 'seeds x images'} {ends(difference.bootstrap)}")
    if difference.p is not None:
        parts.append(f"McNemar p {difference.p:.2g}")
    if len(difference.by_seed) > 1:
        parts.append("by seed " + " ".join(_figure(value, column, "+") for _, value in difference.by_seed))
    if difference.word:
        parts.append(difference.word)
    return "\n".join(parts)


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know beside the table."""
    found = [
        f"Counts in per cent, means over scored peers, checkpoint {comparison.checkpoint}, {comparison.dataset}. "
        "Intervals are 95 %."
    ]
    pairs = [len(differences[0].by_seed) for differences in comparison.differences.values()]
    if any(1 < count < ENOUGH_SEEDS for count in pairs):
        found.append(f"Fewer than {ENOUGH_SEEDS} paired seeds: too few to call any method better than another.")
    lacking = dict.fromkeys(d.column for ds in comparison.differences.values() for d in ds if d.bootstrap is None)
    if lacking:
        found.append(
            f"By seeds alone, and never called higher or lower, for not all runs have values per image: "
            f"{', '.join(lacking)}."
        )
    found += comparison.remarks
    costs = [(method.name, _cost(method)) for method in comparison.methods]
    equal = len({cost for _, cost in costs}) == 1
    listed = "; ".join(f"{name}: {cost}" for name, cost in costs)
    found.append(f"Cost {'equal' if equal else 'NOT equal'}: {listed}.")
    return found


def _cost(method: Method) -> str:
    run = method.runs[0]
    epochs = "" if run.epochs is None else f"{run.epochs} epochs, "
    both = "not known" if run.passes_with_teachers is None else f"{run.passes_with_teachers:g}"
    more = "" if run.passes_with_teachers == run.passes else f" of its own, with teachers {both}"
    return f"{epochs}{run.passes:g} passes per training image{more}"


def heads(comparison: Comparison) -> list[str]:
    """The columns of the table."""
    return ["method", "runs", *(column.heading for column in comparison.columns)]


def as_table(comparison: Comparison) -> Table:
    """The terminal's table."""
    table = Table(show_lines=True)
    for header in heads(comparison):
        table.add_column(Text(printable(header)))
    for row in rows(comparison):
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def as_markdown(comparison: Comparison) -> str:
    """The table and its notes."""
    header = [in_markdown(heading) for heading in heads(comparison)]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    cells = [["<br>".join(map(in_markdown, cell.split("\n"))) for cell in row] for row in rows(comparison)]
    lines += [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([*lines, "", *(f"{in_markdown(note)}\n" for note in notes(comparison))])


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything as plain values; counts and their differences are fractions."""
    return {
        "schema": 2,
        "checkpoint": comparison.checkpoint,
        "dataset": comparison.dataset,
        "columns": [asdict(column) for column in comparison.columns],
        "methods": [
            {
                "name": method.name,
                "passes": method.runs[0].passes,
                "passes_with_teachers": method.runs[0].passes_with_teachers,
                "runs": [{"path": str(r.path), "seed": r.seed, "figures": dict(r.means)} for r in method.runs],
            }
            for method in comparison.methods
        ],
        "baseline": comparison.methods[0].name,
        "differences": {
            name: {difference.column: _plain(difference) for difference in differences}
            for name, differences in comparison.differences.items()
        },
        "notes": notes(comparison),
    }


def _plain(difference: Difference) -> dict[str, Any]:
    def ends(interval: Interval | None) -> list[float] | None:
        return None if interval is None else [interval.low, interval.high]

    return {
        "mean": difference.mean,
        "by_seed": {str(seed): value for seed, value in difference.by_seed},
        "t": ends(difference.t),
        "bootstrap": ends(difference.bootstrap),
        "mcnemar_p": difference.p,
        "word": difference.word,
        "scope": "these two models, not the methods" if difference.single else "methods",
    }
