"""Per-sample flags of an evaluation, as an npz that anybody can read.

Schema 1, arrays by name:
  schema                          int
  indices                         (n,) int64, each test image's index in its split
  labels                          (n,) int64
  CHECKPOINT/PEER/clean           (n,) bool: right on the clean image
  CHECKPOINT/PEER/NORM:EPS        (n,) bool: also stands under this threat model
  CHECKPOINT/PEER/union           (n,) bool: stands under all
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from matx.errors import RunError
from matx.evaluate import PeerScores

__all__ = ["FLAGS", "read_flags", "write_flags"]

FLAGS = "flags.npz"
_SCHEMA = 1


def write_flags(path: Path, scores: Mapping[str, Mapping[str, PeerScores]], *, indices: Tensor, labels: Tensor) -> None:
    """Write {checkpoint: {peer: scores}} at once."""
    arrays: dict[str, NDArray[np.generic]] = {
        "schema": np.array(_SCHEMA),
        "indices": indices.numpy(),
        "labels": labels.numpy(),
    }
    for checkpoint, peers in scores.items():
        for peer, one in peers.items():
            flags = {"clean": one.flags.clean, **one.flags.threats, "union": one.flags.union}
            arrays |= {f"{checkpoint}/{peer}/{column}": flag.numpy() for column, flag in flags.items()}
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    os.replace(part, path)


def read_flags(folder: Path, checkpoint: str) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """{peer: {column: (n,) bool}} of a run's checkpoint; empty where it has none. RunError for another schema."""
    file = folder / FLAGS
    if not file.is_file():
        return {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise RunError(f"{file}: cannot be read ({error}); allowed: flags as matx writes them") from None
    if int(arrays.get("schema", np.array(-1))) != _SCHEMA:
        raise RunError(
            f"{file}: got flags of schema {arrays.get('schema')}, allowed: {_SCHEMA}; evaluate the run again"
        )
    found: dict[str, dict[str, NDArray[np.bool_]]] = {}
    for name, flag in arrays.items():
        which, slash, rest = name.partition("/")
        if slash and which == checkpoint:
            peer, _, column = rest.partition("/")
            found.setdefault(peer, {})[column] = flag
    return found
