"""The one writer of files that another process or a later command reads: whole or not at all, and on the disk."""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray

from matx.digest import checked, with_digest

__all__ = [
    "PARTIAL",
    "keep_as",
    "name_unchecked",
    "plain",
    "read_npz",
    "read_torch",
    "remove_leftovers",
    "write_file",
    "write_json",
    "write_npz",
    "write_text",
    "write_torch",
]

log = logging.getLogger("matx.run")

PARTIAL = ".partial"
"""The end of the name of a file that is being written."""
_STALE = 3600.0
"""Seconds without a change after which a partial file belongs to a writer that was killed."""


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file by what `write` writes; a reader sees the old content or the new, also after a loss of power.

    Each call writes to a hidden file of its own, so writers in several processes never share one.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):  # a folder that cannot be written: what is said is why the write failed
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
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
    """Replace a file by named arrays, none of them pickled, and their checksum."""
    save = np.savez_compressed if compressed else np.savez
    found = {name: np.asarray(array) for name, array in arrays.items()}
    # Not left to savez: numpy 2.1 takes its `allow_pickle` for one more array.
    assert not any(array.dtype.hasobject for array in found.values()), "arrays of Python objects would be pickled"
    stored = with_digest(found)
    write_file(path, lambda file: save(file, **stored))


def read_npz(path: Path) -> tuple[dict[str, NDArray[Any]], bool]:
    """(named arrays, whether a checksum came with them); ValueError, or what numpy raises, where they are damaged."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        return checked({name: stored[name] for name in stored.files})


def write_torch(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file by what `torch.save` makes of a mapping and its checksum."""
    stored = with_digest(value)

    def write(file: BinaryIO) -> None:
        watched = _Watched(file)
        try:
            torch.save(stored, cast("IO[bytes]", watched))
        except RuntimeError as error:
            raise watched.failure or error from error

    write_file(path, write)


@dataclass(eq=False)
class _Watched:
    """A file that keeps why a write failed: torch says only that one did."""

    file: BinaryIO
    failure: OSError | None = None

    def write(self, content: bytes) -> int:
        try:
            return self.file.write(content)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self.file.flush()


def read_torch(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Any], bool]:
    """(a mapping, whether a checksum came with it); ValueError, or what torch raises, where it is damaged."""
    stored = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(stored, dict):
        raise ValueError(f"{type(stored).__name__}, not a mapping")
    return checked(stored)


def name_unchecked(path: Path, checked: bool) -> None:
    """Say of a file that an earlier version wrote it without a checksum."""
    if not checked:
        log.warning("%s: unchecked, for it was written without a checksum, by an earlier version", path)


def keep_as(path: Path, other: Path) -> None:
    """Give what a file holds now a second name, at which it stays when the file is replaced."""
    partial = other.with_name(f".{other.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        os.link(path, partial)
    except OSError:  # file systems without hard links
        shutil.copyfile(path, partial)
    partial.replace(other)
    partial.unlink(missing_ok=True)  # where both were names of one file already, nothing was moved


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left behind in a locked folder and below."""
    for partial in folder.rglob(f".*{PARTIAL}"):
        try:
            if not _written_here(partial) or time.time() - partial.stat().st_mtime > _STALE:
                partial.unlink()
        except OSError:  # another process finished or removed it meanwhile
            continue


def _written_here(partial: Path) -> bool:
    """Whether a process of this machine has the number of the writer: it may be at work."""
    number = partial.name.removesuffix(PARTIAL).rpartition(".")[2].partition("-")[0]
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def plain(value: Any) -> Any:
    """A value as strict JSON holds it: mappings and sequences of plain values; nan and inf as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
