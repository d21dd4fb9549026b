"""A plug-in: one file that registers one new tracker. Copy it, rename it, change where what a run tells is written.

matx show trackers.csv --plugin examples/my_tracker.py
matx check trackers.csv --plugin examples/my_tracker.py
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import matx
from matx.effect import NO_EFFECT
from matx.interfaces import Record, Scalars, TrackedRun


@matx.trackers.register("csv")
@dataclass(frozen=True, kw_only=True)
class Csv:
    """Every number that a run tells, as a row of one CSV file in its folder: step, peer, name, value."""

    # Options are fields; their annotation says what gin files and `matx show` allow. No figure depends on this one.
    file: str = field(default="figures.csv", metadata=NO_EFFECT)
    """Its name."""

    def lacks(self) -> str | None:
        # What is needed and not there, as one sentence: a package (`matx.interfaces.not_installed`), a password.
        return None

    def where(self, folder: Path) -> str:
        # What `matx run` prints when it has finished.
        return str(folder / self.file)

    def open(self, run: TrackedRun) -> Rows:
        return Rows(run.folder / self.file, run.steps)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """An instance for each way of use: the contracts are tried on these."""
        return [cls(), cls(file="all.csv")]


class Rows:
    """The open file. What it raises is said once and ends it; the run goes on."""

    def __init__(self, path: Path, steps: int) -> None:
        # A run that goes on after so many steps tells the later ones again, so their rows are left out.
        old = path.read_text(encoding="utf-8").splitlines() if steps and path.is_file() else []
        kept = [row for row in csv.reader(old) if int(row[0]) <= steps]
        self.file = path.open("w", newline="", encoding="utf-8", buffering=1)  # a killed run has its lines
        self.rows = csv.writer(self.file)
        self.rows.writerows(kept)

    def write(self, record: Record) -> None:
        # Scalars, Text, Picture, Table or Outcome: take what can be shown, leave the rest.
        if isinstance(record, Scalars):
            self.rows.writerows((record.step, peer, name, value) for peer, name, value in record.named())

    def close(self, *, finished: bool) -> None:
        self.file.close()
