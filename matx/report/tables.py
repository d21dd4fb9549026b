"""The sheets of a report as Markdown for a folder, and as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from matx.report.sheets import Seconds, Sheet, sections
from matx.report.summary import how, reasons, same_epochs, summary
from matx.results import NOT_CHECKED, Results
from matx.text import in_markdown, printable

__all__ = ["markdown", "tables"]

_INKS = {"pass": "green", "warn": "yellow", "fail": "bold red", NOT_CHECKED: "dim"}


def markdown(found: Results, seconds: Seconds | None = None) -> str:
    """report.md: the tables of each checkpoint, what does not pass, and how everything was measured."""
    parts = [f"# {in_markdown(found.experiment)}", *map(in_markdown, summary(found))]
    for section in sections(found, seconds):
        parts.append(f"## {in_markdown(section.heading)}")
        for sheet in section.sheets:
            parts += [f"{in_markdown(sheet.caption)}:", _pipes(sheet.head, sheet.rows)]
    for heading, lines in (("What does not pass", reasons(found)), ("How it was measured", how(found))):
        if lines:
            parts += [f"## {heading}", "\n".join(f"- {in_markdown(line)}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    shown = [[in_markdown(cell) for cell in row] for row in (head, *rows)]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (shown[0], rule, *shown[1:]))


def tables(found: Results, seconds: Seconds | None = None) -> Iterator[Table | str]:
    """The terminal's tables of each checkpoint, and a sentence for one that is another's epoch."""
    for section in sections(found, seconds):
        for place, sheet in enumerate(section.sheets):
            title = f"{found.experiment}: {section.heading[0].lower()}{section.heading[1:]}"
            yield _table(title if place == 0 else sheet.caption, sheet)
    yield from same_epochs(found)


def _table(title: str, sheet: Sheet) -> Table:
    shown = Table(title=Text(printable(title, keep="")))
    for position, head in enumerate(sheet.head):
        shown.add_column(
            Text(printable(head)), justify="right" if position else "left", no_wrap=position == 0, overflow="fold"
        )
    for row in sheet.rows:
        shown.add_row(*(_inked(cell) for cell in row), style="bold" if row[0] in sheet.bold else "")
    return shown


def _inked(cell: str) -> Text:
    """The verdict that a cell ends with, in its colour."""
    text = Text(printable(cell))
    for word, ink in _INKS.items():
        if cell == word or cell.endswith(f" {word}"):
            text.stylize(ink, len(cell) - len(word))
    return text
