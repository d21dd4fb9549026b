"""Per-sample flags of an evaluation, as an npz that anybody can read.

Schema 1, arrays by name:
  schema                          int
  indices                         (n,) int64, each test image's index in its split
  labels                          (n,) int64
  CHECKPOINT/PEER/clean           (n,) bool: right on the clean image
  CHECKPOINT/PEER/NORM:EPS        (n,) bool: also stands under this threat model
                                  (not there where samples were not attacked under every threat model)
  CHECKPOINT/PEER/union           (n,) bool: stands under all
  CHECKPOINT/PEER/8bit NORM:EPS   (n,) bool: right on every example found, rounded to 8 bits; where it was asked
  CHECKPOINT/PEER/8bit union      (n,) bool: under all
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from matx.errors import RunError
from matx.measure import PeerScores
from matx.runtime.files import write_npz

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
            arrays |= {f"{checkpoint}/{peer}/{column}": flag.numpy() for column, flag in _columns(one).items()}
    write_npz(path, arrays, compressed=True)


def _columns(one: PeerScores) -> dict[str, Tensor]:
    """The flags that may be shown: no column a threat model where not every sample was attacked under it."""
    threats = {key: one.flags.threats[key] for key in one.threats}
    flags = {"clean": one.flags.clean, **threats, "union": one.flags.union}
    if one.rounded:
        flags |= {f"8bit {key}": one.flags.rounded[key] for key in one.rounded if key != "union"}
        flags["8bit union"] = one.flags.rounded_union
    return flags


def read_flags(folder: Path, checkpoint: str) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """{peer: {column: (n,) bool}} of a run's checkpoint; empty where it has none. RunError for another schema."""
    file = folder / FLAGS
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
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
