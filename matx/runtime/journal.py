"""What a run writes down as it goes: metrics.jsonl, and what it tells its trackers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from matx.digest import checked, with_digest
from matx.engine import EpochRecord, StepRecord
from matx.errors import RunError
from matx.interfaces import Picture, Scalars, Text
from matx.measure import Rate
from matx.runtime.files import name_unchecked, plain
from matx.runtime.tracking import Trackers

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["STEPS", "Journal", "as_line", "check_metrics", "epoch_row", "lines", "read_rows"]

STEPS = 10
"""Every so many steps a step is written down; epochs always are."""
_RUN = ""
"""Whose figures are no peer's."""


def lines(value: Any, path: str = "") -> Iterator[str]:
    """Nested plain values as `path = value` lines; `@` (the name of a component) is at the component's own path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from lines(item, path if key == "@" else f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value:
        for position, item in enumerate(value):
            yield from lines(item, f"{path}[{position}]")
    elif path:
        yield f"{path} = {value}"


class Journal:
    """The open metrics.jsonl of a run, and its trackers; `size` tells a checkpoint how much it may rely on."""

    def __init__(self, metrics: Path, trackers: Trackers, *, size: int, steps: int, config: str) -> None:
        self.steps = steps
        self._metrics = _reopened(metrics, size)
        self._trackers = trackers
        if not steps:
            text = "\n".join(f"    {line}" for line in config.splitlines())
            trackers.tell(Text(name="config", markdown=text, step=0))

    @property
    def size(self) -> int:
        """The bytes of metrics.jsonl, all of them on the disk."""
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        return self._metrics.tell()

    def step(self, record: StepRecord) -> None:
        """Write a step down, where it is due."""
        self.steps = record.step
        if record.step % STEPS:
            return
        self._line(
            {"kind": "step", "epoch": record.epoch, "step": record.step, "losses": record.losses, "lr": record.lr}
        )
        self._tell("step", record.losses)
        self._tell("lr", {peer: {"": rate} for peer, rate in record.lr.items()})

    def epoch(self, record: EpochRecord, *, images_per_second: float) -> None:
        """Write an epoch down."""
        row = epoch_row(record)
        self._line(row)
        self._tell("epoch", record.train)
        score = {} if record.score is None else {_RUN: {"score": record.score}}
        self._tell("validation", {**(row["validation"] or {}), **score})
        self._tell("time", {_RUN: {"images_per_second": images_per_second}})

    def picture(self, name: str, peer: str, grid: Tensor) -> None:
        """Tell the trackers a (C, H, W) picture of a peer."""
        self._trackers.tell(Picture(name=name, peer=peer, pixels=grid, step=self.steps))

    def close(self) -> None:
        """Close the file."""
        self._metrics.close()

    def _tell(self, group: str, values: Mapping[str, Mapping[str, float]]) -> None:
        if values:
            self._trackers.tell(Scalars(group=group, values=values, step=self.steps))

    def _line(self, record: Mapping[str, Any]) -> None:
        self._metrics.write(as_line(record).encode())


def as_line(row: Mapping[str, Any]) -> str:
    """A row of metrics.jsonl, with its checksum."""
    return json.dumps(with_digest(plain(row)), allow_nan=False) + "\n"


def read_rows(path: Path, size: int | None = None) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, of its first `size` bytes; RunError names the line that is not what was written."""
    try:
        content = path.read_bytes()[:size]
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    rows, unchecked = [], 0
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row, known = checked(_object(line))
            if not known and unchecked < number - 1:
                raise ValueError("it lost its checksum")
        except ValueError as error:
            raise RunError(
                f"{path}:{number}: not a JSON record ({error}), allowed: the file as matx wrote it"
            ) from error
        unchecked += not known
        rows.append(row)
    name_unchecked(path, not unchecked)
    return rows


def _object(line: bytes) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError(f"got {type(found).__name__}, allowed: a JSON object")
    return found


def epoch_row(record: EpochRecord) -> dict[str, Any]:
    """An epoch as metrics.jsonl holds it."""
    shares = {name: _shares(rates) for name, rates in (record.validation or {}).items()}
    row = {"kind": "epoch", "epoch": record.epoch, "steps": record.steps, "train": record.train, "lr": record.lr}
    row |= {"validation": shares or None, "score": record.score, "best": record.best, "best_by": record.best_by}
    return row | {"passes": record.passes, "alarms": record.alarms}


def _shares(rates: Mapping[str, Rate]) -> dict[str, float]:
    """One peer's accuracies by name."""
    return {name: rate.accuracy for name, rate in rates.items()}


def check_metrics(path: Path, size: int) -> None:
    """Refuse a metrics.jsonl that is not, up to what the checkpoint knows of, the records that were written."""
    there = path.stat().st_size if path.is_file() else 0
    if there < size:
        raise RunError(f"{path}: got {there} bytes, allowed: the {size} or more that the last checkpoint knows of")
    if size:
        read_rows(path, size)


def _reopened(path: Path, size: int) -> IO[bytes]:
    """metrics.jsonl, cut to what the checkpoint knows of and open for more."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file
