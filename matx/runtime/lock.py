"""One process at a time in a folder: a lock that the system takes back when its owner dies, however it dies."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from matx.errors import RunError
from matx.runtime.files import remove_leftovers, write_text
from matx.runtime.folder import refuse_links

__all__ = ["folder_lock"]

log = logging.getLogger("matx.run")
_UNKNOWN_HERE = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
_PATIENCE = 0.1
"""Seconds in which an owner that is about to leave may do so."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes; a RunError says which one works in it.

    `.lock` in it is what the system locks; `lock` names the owner. Both are gone when the work is over; those that a
    killed process left behind lock nothing.
    """
    name, locked = folder / "lock", folder / ".lock"
    if not folder.is_dir():
        raise RunError(f"{folder}: cannot be written (no such folder); allowed: a writable folder")
    for file in (name, locked):
        if file.is_symlink():
            raise RunError(f"{file}: got a symbolic link to {os.readlink(file)}, allowed: no file, or matx's own")
    refuse_links(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(locked, timeout=_PATIENCE, poll_interval=_PATIENCE / 5))
        except Timeout as error:
            owner = name.read_text(encoding="utf-8").strip() if name.is_file() else "another process"
            raise RunError(f"{folder}: {owner} is at work in it; allowed: one process at a time") from error
        except OSError as error:
            if error.errno not in _UNKNOWN_HERE:
                raise RunError(f"{folder}: cannot be written ({error.strerror}); allowed: a writable folder") from error
            log.warning("%s: no locks on this file system, so nothing keeps a second process away", folder)
        # Unlinked while it is locked: who opened it before finds after locking that it has no name, and tries again.
        stack.callback(lambda: _unlink(name, locked))
        remove_leftovers(folder)
        write_text(name, f"process {os.getpid()} on {socket.gethostname()}\n")
        yield


def _unlink(*paths: Path) -> None:
    for path in paths:
        with suppress(OSError):  # Windows unlinks no open file: there filelock does it after unlocking
            path.unlink()
