"""What an evaluation finds, batch by batch: flags and winning examples, kept so that an interruption loses nothing.

A record of schema 1 is an npz with the arrays

  schema     int
  threat     str, NORM:EPS; 'clean' for the clean images
  attack     str, how the attack was configured; '' for the clean images
  rows       (n,) int64, the samples' places in the split
  indices    (n,) int64, the samples' indices in their dataset
  labels     (n,) int64
  held       (n,) bool: right after this attack (right at all, for the clean images)
  held_8bit  (n,) bool: right on the example rounded towards the clean pixel; `held` where it was not asked
  examples   (k, C, H, W) fp32 in [0,1], the images of those that did not hold, in order; k = 0 for the clean images
  seconds    float, what the batch cost
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

__all__ = ["FolderRecords", "Record", "Records", "place"]

_SCHEMA = 1
_TENSORS = ("rows", "indices", "labels", "held", "held_8bit", "examples")


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """One batch under one attack; tensors on the CPU, named as in the file."""

    threat: str
    attack: str
    rows: Tensor
    indices: Tensor
    labels: Tensor
    held: Tensor
    held_8bit: Tensor
    examples: Tensor
    seconds: float


class Records(Protocol):
    """Where records are kept."""

    def read(self, where: str, rows: Tensor) -> Record | None:
        """The record of that place, if there is one of exactly these rows."""
        ...

    def write(self, where: str, record: Record) -> None:
        """Keep a record."""
        ...


def place(peer: str, threat: str, stage: str, batch: int) -> str:
    """Where a batch's record lies: `PEER/NORM_EPS/STAGE/BATCH`, with '8/255' written as '8-255'."""
    return f"{peer}/{threat.replace(':', '_').replace('/', '-')}/{stage}/{batch:05}"


@dataclass(frozen=True)
class FolderRecords:
    """Records as files below a folder; each appears whole or not at all, a damaged one counts as absent."""

    folder: Path

    def read(self, where: str, rows: Tensor) -> Record | None:
        """The record of that place, if there is one of exactly these rows."""
        found = _load(self.folder / f"{where}.npz")
        return found if found is not None and torch.equal(found.rows, rows) else None

    def write(self, where: str, record: Record) -> None:
        """Keep a record."""
        file = self.folder / f"{where}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {"schema": _SCHEMA, **vars(record)}
        part = file.with_name(f".{file.name}.part")
        with part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items()})
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)

    def all(self) -> Iterator[tuple[str, Record]]:
        """Every record with its place, in order."""
        for file in sorted(self.folder.rglob("*.npz")):
            found = _load(file)
            if found is not None:
                yield file.relative_to(self.folder).with_suffix("").as_posix(), found


def _load(file: Path) -> Record | None:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        if int(arrays.pop("schema")) != _SCHEMA:
            return None
        tensors = {name: torch.from_numpy(arrays[name]) for name in _TENSORS}
        return Record(
            threat=str(arrays["threat"]), attack=str(arrays["attack"]), seconds=float(arrays["seconds"]), **tensors
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None
