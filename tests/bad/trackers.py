"""Bad trackers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from matx.interfaces import Picture, Record, Table, TrackedRun


@dataclass
class _Open:
    """Counts what it is told, with one fault."""

    fault: str
    count: int = 0

    def write(self, record: Record) -> None:
        self.count += 1
        if self.fault == "pixels" and isinstance(record, Picture):
            record.pixels.mul_(255)
        if self.fault == "tables" and isinstance(record, Table):
            raise TypeError("a table")

    def close(self, *, finished: bool) -> None:
        if self.fault == "hook":
            sys.excepthook = lambda *_: None
        if self.fault == "signals":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.fault == "draws":
            torch.rand(())


@dataclass(frozen=True, kw_only=True)
class Bad:
    """Counts records, with one fault."""

    fault: str = ""

    def lacks(self) -> str | None:
        return {"lacks": "needs the package no_such, which is not installed", "mute": ""}.get(self.fault)

    def where(self, folder: Path) -> str:
        return "two\nlines" if self.fault == "lines" else str(folder)

    def open(self, run: TrackedRun) -> _Open:
        if self.fault == "resumed" and run.steps:
            raise ValueError("it was there already")
        if self.fault == "link":
            (run.folder / f"log-{run.steps}").symlink_to("/")
        return _Open(self.fault)


def _case(contract: str, fault: str, words: str) -> tuple[str, Callable[[], Any], str]:
    return contract, lambda: Bad(fault=fault), words


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    _case("says_what_it_lacks", "lacks", "needs the package no_such"),
    _case("says_what_it_lacks", "mute", "says of what it lacks ''"),
    _case("says_where", "lines", "allowed: one line"),
    _case("takes_every_record", "pixels", "changes the records"),
    _case("takes_every_record", "tables", "raised TypeError: a table"),
    _case("takes_every_record", "resumed", "raised ValueError: it was there already"),
    _case("takes_every_record", "link", "leaves links out of the run's folder"),
    _case("takes_every_record", "lacks", "cannot be tried, as it needs the package no_such"),
    _case("leaves_the_process_as_it_was", "hook", "leaves changed: sys.excepthook"),
    _case("leaves_the_process_as_it_was", "signals", "leaves changed: SIGTERM"),
    _case("leaves_the_process_as_it_was", "draws", "leaves changed: torch's generator"),
]
"""(contract, a component that breaks it, words of the sentence)."""
