"""One process at a time in a folder: a lock that the system takes back when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from matx.errors import RunError

__all__ = ["alone"]

log = logging.getLogger("matx.run")
_UNKNOWN_HERE = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes; a RunError says which one is at work there.

    The file `lock` in it names the holder, and is gone when the work is over. One that a killed process left behind
    locks nothing.
    """
    path = folder / "lock"
    file = _locked(path)
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _locked(path: Path) -> IO[str]:
    """The lock file, opened and locked."""
    while True:
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise RunError(
                f"{path.parent}: cannot be written ({error.strerror}); allowed: a writable folder"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _UNKNOWN_HERE:
                log.warning("%s: no locks on this file system, so nothing keeps a second process away", path.parent)
                return file
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise RunError(f"{path.parent}: {holder} is at work in it; allowed: one process at a time") from error
        if _is_at(path, file):
            return file
        file.close()  # the holder before took it away between the opening and the locking


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
