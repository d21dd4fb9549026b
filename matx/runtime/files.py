"""The one writer of files that another process or a later command reads: whole or not at all, and on the disk."""

from __future__ import annotations

import json
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["plain", "remove_leftovers", "write_file", "write_json", "write_npz", "write_text", "write_torch"]

_PARTIAL = ".partial"
_STALE = 3600.0
"""Seconds without a change after which a partial file belongs to a writer that was killed."""


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file by what `write` writes; a reader sees the old content or the new, also after a loss of power.

    Each call writes to a hidden file of its own, so writers in several processes never share one.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_PARTIAL}")
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk; Windows does so by itself and opens no folder."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace a file by a text in UTF-8, its line ends as they are."""
    write_file(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Replace a file by a value as strict JSON (`plain`): the same bytes for the same value."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> None:
    """Replace a file by named arrays, none of them pickled."""
    save = np.savez_compressed if compressed else np.savez
    write_file(path, lambda file: save(file, allow_pickle=False, **arrays))


def write_torch(path: Path, value: Any) -> None:
    """Replace a file by what `torch.save` makes of a value."""
    write_file(path, lambda file: torch.save(value, file))


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left behind in a folder and below."""
    for partial in folder.rglob(f".*{_PARTIAL}"):
        try:
            if time.time() - partial.stat().st_mtime > _STALE:
                partial.unlink()
        except OSError:  # another process finished or removed it meanwhile
            continue


def plain(value: Any) -> Any:
    """A value as strict JSON holds it: mappings and sequences of plain values; nan and inf as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
