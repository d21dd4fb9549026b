"""Records of an evaluation as files: whatever was measured of a batch, so that the same command continues.

examples/MODEL/NORM_EPS/SEARCH/BATCH.npz holds, with `schema` 2, the arrays that `SearchRecord` names.
columns/METRIC/BATCH.npz holds `schema`, `rows`, `names` (JSON: [model, column, source] each), `attacked`
(JSON: models), and the columns as arrays 0, 1, ... Each file holds a `digest` of the rest (`matx.digest`).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from matx.interfaces import Column
from matx.measure import MeasuredColumns, SearchRecord
from matx.runtime.files import read_npz, write_npz

__all__ = ["FolderRecords"]

_SCHEMA = 2
_TENSORS = ("rows", "indices", "labels", "robust", "examples")
_DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, BadZipFile, zlib.error)


@dataclass(frozen=True)
class FolderRecords:
    """Records as files below a folder; each appears whole or not at all, a damaged one counts as absent."""

    folder: Path

    def read_search(self, where: str, rows: Tensor) -> SearchRecord | None:
        """The search at that place, if there is one of exactly these rows."""
        found = _search(self.folder / "examples" / f"{where}.npz")
        return found if found is not None and torch.equal(found.rows, rows) else None

    def write_search(self, where: str, record: SearchRecord) -> None:
        """Keep a search."""
        _write(self.folder / "examples" / f"{where}.npz", vars(record))

    def read_columns(self, where: str, rows: Tensor) -> MeasuredColumns | None:
        """The columns at that place, if there are some of exactly these rows."""
        try:
            arrays = _read(self.folder / "columns" / f"{where}.npz")
            names = [Column(*entry) for entry in json.loads(str(arrays["names"]))]
            columns = {name: torch.from_numpy(arrays[str(number)]) for number, name in enumerate(names)}
            kept = MeasuredColumns(
                rows=torch.from_numpy(arrays["rows"]),
                columns=columns,
                attacked=tuple(json.loads(str(arrays["attacked"]))),
            )
        except _DAMAGE:
            return None
        return kept if torch.equal(kept.rows, rows) else None

    def write_columns(self, where: str, record: MeasuredColumns) -> None:
        """Keep columns."""
        names = json.dumps([list(column) for column in record.columns])
        values = {str(number): values for number, values in enumerate(record.columns.values())}
        attacked = json.dumps(list(record.attacked))
        arrays = {"rows": record.rows, "names": names, "attacked": attacked, **values}
        _write(self.folder / "columns" / f"{where}.npz", arrays)

    def searches(self, model: str) -> Iterator[SearchRecord]:
        """Every search on a model, in order of their places."""
        for file in sorted((self.folder / "examples" / model).rglob("*.npz")):
            found = _search(file)
            if found is not None:
                yield found


def _write(file: Path, arrays: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_npz(file, {"schema": np.array(_SCHEMA), **{name: np.asarray(value) for name, value in arrays.items()}})


def _read(file: Path) -> dict[str, Any]:
    arrays, _ = read_npz(file)
    if int(arrays.pop("schema")) != _SCHEMA:
        raise ValueError("another schema")
    return arrays


def _search(file: Path) -> SearchRecord | None:
    try:
        arrays = _read(file)
        tensors = {name: torch.from_numpy(arrays[name]) for name in _TENSORS}
        return SearchRecord(
            threat=str(arrays["threat"]), attack=str(arrays["attack"]), seconds=float(arrays["seconds"]), **tensors
        )
    except _DAMAGE:
        return None
