"""Progress with an estimate of the time left: bars on a terminal and in a notebook that has ipywidgets, plain lines
anywhere else, nothing where silent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from matx.text import printable

__all__ = ["Bar", "Display"]

_WIDE = 100
"""Columns of a terminal from which the bar is long and the time spent is shown, too."""


class Bar(Protocol):
    """Told how far a piece of work is."""

    def __call__(self, done: float, note: str = "", *, line: bool = False) -> None:
        """`done` of the bar's total; `line` where it is worth a line of its own without a terminal."""
        ...


@dataclass(frozen=True)
class Display:
    """Where progress goes; no console: nowhere."""

    console: Console | None = None

    @classmethod
    def here(cls) -> Display:
        """On the standard error of this process, or in the notebook that runs it."""
        return cls(Console(stderr=True))

    def say(self, what: RenderableType) -> None:
        """Show a line or a table between the bars."""
        if self.console is not None:
            text = printable(what) if isinstance(what, str) else what
            self.console.print(text, markup=False, highlight=False, soft_wrap=isinstance(what, str))

    @contextmanager
    def bar(self, title: str, total: float, done: float = 0.0) -> Iterator[Bar]:
        """A bar for work of so much, with the time left."""
        if self.console is None:
            yield _silent
        elif self.console.is_terminal or (self.console.is_jupyter and find_spec("ipywidgets")):
            with _drawn(self.console) as progress:
                task = progress.add_task(printable(title, keep=""), total=total, note="")
                progress.update(task, completed=done)

                def draw(done: float, note: str = "", *, line: bool = False) -> None:
                    progress.update(task, completed=done)
                    if note:
                        progress.update(task, note=printable(note, keep=""))

                yield draw
        else:
            yield _Lines(self, title, total, done)


def _silent(done: float, note: str = "", *, line: bool = False) -> None:
    """Show nothing."""


def _drawn(console: Console) -> Progress:
    """Bar, count and time left always; what else there is to say is cut to the width that they leave."""
    title = Column(max_width=console.width // 4, no_wrap=True, overflow="ellipsis")
    note = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    elapsed = (TimeElapsedColumn(),) if console.width >= _WIDE else ()
    shown = (
        TextColumn("{task.description}", markup=False, table_column=title),
        BarColumn(bar_width=40 if console.width >= _WIDE else console.width // 5),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        *elapsed,
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False, table_column=note),
    )
    return Progress(*shown, console=console, expand=True)


@dataclass(eq=False)
class _Lines:
    """A bar as plain lines."""

    display: Display
    title: str
    total: float
    start: float
    began: float = field(default_factory=time.monotonic)

    def __call__(self, done: float, note: str = "", *, line: bool = False) -> None:
        if not line:
            return
        spent = time.monotonic() - self.began
        left = spent / (done - self.start) * (self.total - done) if done > self.start else 0.0
        self.display.say(f"{self.title} {done:g}/{self.total:g}  ETA {_clock(left)}  {note}".rstrip())


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
