"""Per-sample columns of an evaluation, as an npz that anybody can read.

Schema 2, arrays by name:
  schema         int
  indices        (n,) int64, each test image's index in its split
  labels         (n,) int64
  digest         str: blake2b of everything else (`matx.digest`)
  columns        str: a JSON list, one object {checkpoint, weights, model, source, metric, column} for each column
  0, 1, ...      (n,) bool or floating: the columns, in the order of that list

Schema 1, which is read too, had bool arrays named CHECKPOINT/PEER/COLUMN.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from matx.errors import FormError, RunError
from matx.runtime.files import name_unchecked, read_npz, write_npz

__all__ = ["FLAGS", "FlagColumn", "read_flags", "whole_flags", "write_flags"]

log = logging.getLogger("matx.results")
FLAGS = "flags.npz"
_SCHEMA = 2
Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class FlagColumn:
    """What one column speaks of, as a `Score` does."""

    checkpoint: str
    weights: str
    model: str
    source: str | None
    metric: str
    column: str


def write_flags(path: Path, columns: Mapping[FlagColumn, Array], *, indices: Array, labels: Array) -> None:
    """Write all columns at once; RunError for one of another length."""
    _refuse_lengths(path, columns, len(indices))
    listed = json.dumps([asdict(column) for column in columns])
    arrays = {str(number): np.asarray(values) for number, values in enumerate(columns.values())}
    about = {"schema": np.array(_SCHEMA), "indices": indices, "labels": labels, "columns": np.array(listed)}
    write_npz(path, {**about, **arrays})


def whole_flags(folder: Path) -> bool:
    """Whether the flags are what was written, if there are any (runs of before may have none); damage is said.

    FormError for those of another version: they may be whole, and are not written over.
    """
    try:
        read_flags(folder)
    except FormError:
        raise
    except RunError as error:
        log.warning("%s; they are made again", error)
        return False
    return True


def read_flags(folder: Path) -> dict[FlagColumn, Array]:
    """The columns of an evaluation; empty where it has none. RunError where damaged, FormError for another schema."""
    file = folder / FLAGS
    if not file.is_file():
        return {}
    try:
        arrays, known = read_npz(file)
        schema = int(arrays.pop("schema"))
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, BadZipFile, zlib.error) as error:
        raise RunError(f"{file}: cannot be read ({error}); allowed: flags as matx writes them") from None
    name_unchecked(file, known)
    if schema == 1:
        return _schema_1(arrays)
    if schema != _SCHEMA:
        raise FormError(
            f"{file}: got flags of schema {schema}, allowed: 1 or {_SCHEMA}; read them with the matx that wrote them, "
            "or evaluate into another folder"
        )
    try:
        listed: Sequence[Mapping[str, Any]] = json.loads(str(arrays["columns"]))
        found: dict[FlagColumn, Array] = {}
        for number, entry in enumerate(listed):
            column = FlagColumn(**entry)
            if column in found:
                raise ValueError(f"column {column.column!r} of {column.model!r} twice")
            found[column] = arrays[str(number)]
        count = len(arrays["indices"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{file}: damaged ({type(error).__name__}: {error}); evaluate the run again") from None
    _refuse_lengths(file, found, count)
    return found


def _refuse_lengths(file: Path, columns: Mapping[FlagColumn, Array], count: int) -> None:
    for column, values in columns.items():
        if np.shape(values) != (count,):
            raise RunError(
                f"{file}: got column {column.column!r} of {column.model!r} of shape {np.shape(values)}, "
                f"allowed: ({count},), a value per image"
            )


def _schema_1(arrays: Mapping[str, Array]) -> dict[FlagColumn, Array]:
    found: dict[FlagColumn, Array] = {}
    for name, values in arrays.items():
        checkpoint, slash, rest = name.partition("/")
        if not slash:
            continue
        model, _, column = rest.partition("/")
        eight_bit = column.startswith("8bit ")
        if eight_bit and column != "8bit union":
            continue
        metric = "eight_bit" if eight_bit else "clean" if column == "clean" else "robust"
        which, _, weights = checkpoint.partition("-")
        key = FlagColumn(
            checkpoint=which, weights=weights or "raw", model=model, source=None, metric=metric,
            column="8-bit" if eight_bit else column,
        )  # fmt: skip
        found[key] = values
    return found
