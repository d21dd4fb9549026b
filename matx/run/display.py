"""Progress with an estimate of the time left: bars on a terminal, plain lines anywhere else, nothing where silent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from matx.evaluate import CLEAN_STAGE

__all__ = ["Bar", "Display", "Stages"]


class Bar(Protocol):
    """Told how far a piece of work is."""

    def __call__(self, done: float, note: str = "", *, line: bool = False) -> None:
        """`done` of the bar's total; `line` where it is worth a line of its own without a terminal."""
        ...


@dataclass(frozen=True)
class Display:
    """Where progress goes; no console: nowhere."""

    console: Console | None = None

    def say(self, what: RenderableType) -> None:
        """Show a line or a table between the bars."""
        if self.console is not None:
            self.console.print(what, markup=False, highlight=False, soft_wrap=isinstance(what, str))

    @contextmanager
    def bar(self, title: str, total: float, done: float = 0.0) -> Iterator[Bar]:
        """A bar for work of so much, with the time left."""
        if self.console is None:
            yield _silent
        elif self.console.is_terminal:
            with _drawn(self.console) as progress:
                task = progress.add_task(title, total=total, note="")
                progress.update(task, completed=done)

                def draw(done: float, note: str = "", *, line: bool = False) -> None:
                    progress.update(task, completed=done)
                    if note:
                        progress.update(task, note=note)

                yield draw
        else:
            yield _Lines(self, title, total, done)


def _silent(done: float, note: str = "", *, line: bool = False) -> None:
    """Show nothing."""


def _drawn(console: Console) -> Progress:
    shown = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*shown, console=console)


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


@dataclass(eq=False)
class Stages:
    """Draws an evaluation (the `Progress` that `evaluate` tells) on a bar of peers times attacks."""

    bar: Bar
    peers: Sequence[str]
    attacks: int
    stage: int = 0
    """Of the peer at hand: 0 while clean images are classified, then the number of the attack."""
    last: tuple[str, str, str, int] = ("", "", "", 0)

    @property
    def total(self) -> int:
        """How many attacks there are on all peers."""
        return len(self.peers) * max(1, self.attacks)

    def __call__(self, peer: str, threat: str, attack: str, done: int, total: int) -> None:
        name = attack.partition(" ")[0]  # of an attack made of several searches, the one at hand stands behind
        if threat == CLEAN_STAGE:
            self.stage = 0
        elif (peer, threat, name) != self.last[:3] or done <= self.last[3]:
            self.stage += 1
        self.last = (peer, threat, name, done)
        share = (done / total if total else 1.0) if self.stage or not self.attacks else 0.0
        at = self.peers.index(peer) * max(1, self.attacks) + max(0, self.stage - 1) + share
        finished = done == total and (self.stage > 0 or not self.attacks)
        images = f" {done}/{total}" if total and not finished else ""
        self.bar(round(at, 3), f"{peer} {threat} {attack}".rstrip() + images, line=finished)
