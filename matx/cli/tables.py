"""Tables on the terminal: one that is too wide becomes several, the first column repeated in each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.measure import Measurement, measure_renderables
from rich.table import Column, Table
from rich.text import Text

from matx.text import printable

__all__ = ["folded", "show_table", "text_table"]

_EDGE = 1
_PADDING = 3
"""Of each column: a space on both sides and the line behind it."""


@dataclass(frozen=True)
class _Sized:
    """A column and the width that its text gets."""

    column: Column
    width: int

    @property
    def outer(self) -> int:
        """With padding and line."""
        return self.width + _PADDING


def text_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of plain text: names in the first column, figures at the right of the others."""
    table = Table(title=Text(printable(title, keep="")))
    for position, name in enumerate(head):
        table.add_column(Text(printable(name)), justify="right" if position else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def show_table(console: Console, table: Table) -> None:
    """Print a table's title, then the table, by columns in several where the console is too narrow for it."""
    if table.title:
        console.print(table.title, style="bold", markup=False, highlight=False)
    for part in folded(console, table):
        console.print(part, highlight=False)


def folded(console: Console, table: Table) -> Iterator[Table]:
    """The table without its title where it fits, else tables of its first column and as many others as fit beside it.

    A line of a cell is broken where one column alone is too wide, and then at spaces: a column but the first is never
    narrower than its longest word, so that no number is cut.
    """
    room = console.width - _EDGE
    names, *spans = (_span(console, column) for column in table.columns)
    longest = max((span.minimum + _PADDING for span in spans), default=0)
    first = _Sized(table.columns[0], max(1, min(names.maximum, room - longest - _PADDING)))
    left = room - first.outer
    others = [
        _Sized(column, max(span.minimum, min(span.maximum, left - _PADDING)))
        for column, span in zip(table.columns[1:], spans, strict=True)
    ]
    for chosen in _filled(others, left):
        yield _part(table, [first, *chosen])


def _span(console: Console, column: Column) -> Measurement:
    """The widths of a column's text: its longest word, and its longest line."""
    return measure_renderables(console, console.options.update(max_width=10_000), [column.header, *column.cells])


def _filled(columns: Sequence[_Sized], room: int) -> Iterator[list[_Sized]]:
    """The columns in their order, as many at a time as fit."""
    chosen: list[_Sized] = []
    for column in columns:
        if chosen and sum(one.outer for one in chosen) + column.outer > room:
            yield chosen
            chosen = []
        chosen.append(column)
    yield chosen


def _part(table: Table, columns: Sequence[_Sized]) -> Table:
    part = Table(show_lines=table.show_lines)
    for one in columns:
        part.add_column(one.column.header, justify=one.column.justify, width=one.width, overflow="fold")
    for row, cells in zip(table.rows, zip(*(one.column.cells for one in columns), strict=True), strict=True):
        part.add_row(*cells, style=row.style, end_section=row.end_section)
    return part
