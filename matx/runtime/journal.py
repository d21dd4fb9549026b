"""What a run writes as it goes: metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from matx.digest import checked, with_digest
from matx.engine import EpochRecord, StepRecord
from matx.errors import RunError
from matx.measure import Rate
from matx.runtime.board import Board
from matx.runtime.files import name_unchecked, plain
from matx.runtime.folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["STEPS", "Journal", "as_line", "check_metrics", "epoch_row", "lines", "read_rows"]

STEPS = 10
"""Every so many steps a step is written down; epochs always are."""


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
    """The open metrics.jsonl and TensorBoard events of a run; `size` tells a checkpoint how much it may rely on."""

    def __init__(self, folder: RunFolder, *, size: int, steps: int, config: str) -> None:
        self.steps = steps
        self._metrics = _reopened(folder.metrics, size)
        self.board = Board(folder.tensorboard, steps=steps)
        if not steps:
            self.board.text("config", "\n".join(f"    {line}" for line in config.splitlines()), 0)

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
        self.board.scalars("step", record.losses, self.steps)
        self.board.scalars("lr", {peer: {"": rate} for peer, rate in record.lr.items()}, self.steps)

    def epoch(self, record: EpochRecord, *, images_per_second: float) -> None:
        """Write an epoch down."""
        row = epoch_row(record)
        self._line(row)
        self.board.scalars("epoch", record.train, self.steps)
        self.board.scalars("validation", row["validation"] or {}, self.steps)
        if record.score is not None:
            self.board.scalar("validation/score", record.score, self.steps)
        self.board.scalar("time/images_per_second", images_per_second, self.steps)

    def picture(self, name: str, peer: str, grid: Tensor) -> None:
        """Write a (C, H, W) picture of a peer down."""
        self.board.picture(name, peer, grid, self.steps)

    def close(self) -> None:
        """Close both files."""
        self._metrics.close()
        self.board.close()

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
