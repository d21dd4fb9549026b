"""Faults of the machine: full disks, lost folders, too little memory. They are told apart from defects of a program."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from matx.errors import MachineError, MatxError
from matx.runtime.files import PARTIAL

__all__ = ["Fault", "fault_of", "machine_faults"]


@dataclass(frozen=True)
class Fault:
    """What failed, and what the user can do about it."""

    what: str
    help: str
    memory: bool = False


_DISK = {
    errno.ENOSPC: ("no space is left on the disk", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EFBIG: ("a file would be larger than this process may write", "raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", "make it writable"),
    errno.EIO: ("the disk reports an error", "look at the disk"),
    errno.EMFILE: ("this process has too many open files", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("this machine has too many open files", "close some"),
}
_PLACE = {
    errno.ENOENT: ("the folder is gone: it was moved or deleted", "put it back, or name it where it is now"),
    errno.ENOTDIR: ("the folder is gone: something else has its name", "put it back"),
    errno.ESTALE: ("the folder is gone: its disk is not reached any more", "mount it again"),
    errno.EACCES: ("there is no permission to write", "make it writable"),
    errno.EPERM: ("there is no permission to write", "make it writable"),
}
"""Faults of the folder that is worked in; of any other file they are the mistake of who named it."""
_NO_PERMISSION = ("there is no permission", "make it readable and writable, or name another place")
_ALLOCATORS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "ALLOC_FAILED")
"""How torch's host and device allocators, and the libraries below them, say that memory is short."""
_WRITERS = ("PytorchStreamWriter", "iostream error", "unexpected pos")
"""How torch's writer says that a write failed, when the operating system's own word for it is lost."""
_SMALLER = (
    "a smaller Experiment.micro_batch, fewer peers a process, or a smaller Evaluation.batch_size need less memory"
)


def fault_of(error: BaseException, folder: Path | None = None) -> Fault | None:
    """The fault of the machine behind an error; None: another kind of error. `folder` is what is being written."""
    for one in _causes(error):
        if isinstance(one, MemoryError) or getattr(one, "errno", None) == errno.ENOMEM or _says(one, _ALLOCATORS):
            return Fault(f"memory is short ({_first_line(one)})", _SMALLER, memory=True)
        if isinstance(one, OSError) and (known := _DISK.get(one.errno or 0) or _of_place(one, folder)):
            what, advice = known
            return Fault(f"{_named(one, folder)}{what} ({one.strerror})", advice)
    if _says(error, _WRITERS):
        return Fault(
            f"a write failed ({_first_line(error)})", "look at the disk: its space, its limits, its permissions"
        )
    return None


@contextmanager
def machine_faults(folder: Path, kept: Callable[[], str], again: str) -> Iterator[None]:
    """Raise a MachineError for a fault inside: which, what is kept in the folder, what helps, how to continue."""
    try:
        yield
    except MatxError:
        raise
    except Exception as error:
        fault = fault_of(error, folder)
        if fault is None:
            raise
        said = "; ".join([fault.what, kept(), fault.help, again, *getattr(error, "__notes__", ())])
        raise MachineError(said, memory=fault.memory) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it came from."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _of_place(error: OSError, folder: Path | None) -> tuple[str, str] | None:
    """The fault of the folder, where the error is about it; where there is none, of a file that may not be used."""
    if not isinstance(error.filename, str | bytes):
        return None
    if folder is None:
        return _NO_PERMISSION if isinstance(error, PermissionError) else None
    if folder.absolute() not in Path(os.fsdecode(error.filename)).absolute().parents:
        return None
    return _PLACE.get(error.errno or 0)


def _named(error: OSError, folder: Path | None) -> str:
    """Where it was; of a file that was only begun under a name of its own, its folder."""
    where = error.filename if folder is None else folder
    if isinstance(where, str | bytes) and os.fsdecode(where).endswith(PARTIAL):
        where = Path(os.fsdecode(where)).parent
    return "" if where is None else f"{where}: "


def _first_line(error: BaseException) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:200]}".rstrip(": ")
