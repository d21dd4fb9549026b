"""The sheets of a report as Markdown for the run folder, and as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from matx.report.results import Results
from matx.report.sheets import Seconds, Sheet, sheets, summary
from matx.report.verdicts import reasons

__all__ = ["markdown", "tables"]

_INKS = {"pass": "green", "warn": "yellow", "fail": "bold red", "not checked": "dim"}


def markdown(found: Results, seconds: Seconds | None = None) -> str:
    """report.md: the tables of each checkpoint, and what they count."""
    parts = [f"# {found['experiment']}", *summary(found)]
    for heading, body in sheets(found, seconds):
        parts.append(f"## {heading}")
        for sheet in body:
            parts += [f"{sheet.caption}:", _pipes(sheet.head, sheet.rows)]
    doubts = reasons(found)
    if doubts:
        parts += ["## What does not pass", "\n".join(f"- {line}" for line in doubts)]
    return "\n\n".join(parts) + "\n"


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, rule, *rows))


def tables(found: Results, seconds: Seconds | None = None) -> Iterator[Table | str]:
    """The terminal's tables of each checkpoint; a sentence for `last` where it is the best epoch itself."""
    for number, (heading, body) in enumerate(sheets(found, seconds)):
        if number and found["last"]["epoch"] == found["best_epoch"]:
            yield f"checkpoint last is the same: epoch {found['best_epoch']}"
            return
        for place, sheet in enumerate(body):
            title = f"{found['experiment']}: {heading[0].lower()}{heading[1:]}" if place == 0 else sheet.caption
            yield _table(title, sheet)


def _table(title: str, sheet: Sheet) -> Table:
    shown = Table(title=title)
    for position, head in enumerate(sheet.head):
        shown.add_column(head, justify="right" if position else "left", no_wrap=position == 0, overflow="fold")
    for row in sheet.rows:
        shown.add_row(*(_inked(cell) for cell in row), style="bold" if row[0] in sheet.bold else "")
    return shown


def _inked(cell: str) -> Text:
    """The verdict that a cell ends with, in its colour."""
    text = Text(cell)
    for word, ink in _INKS.items():
        if cell == word or cell.endswith(f" {word}"):
            text.stylize(ink, len(cell) - len(word))
    return text
