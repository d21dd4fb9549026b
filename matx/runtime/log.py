"""The log of a long command: what was said on the way, and the traceback of an error that ended it."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from matx.errors import MatxError
from matx.registration import REGISTRIES
from matx.runtime.faults import Fault, fault_of
from matx.text import printable

__all__ = ["explained", "logged_to", "machine_fault"]


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Append what the matx logger says, from INFO up, to a file; an error leaves its traceback there, and says so."""
    logger, handler = logging.getLogger("matx"), _LogFile(path, encoding="utf-8")
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(levelname)-7s %(message)s"))
    before = logger.level
    logger.setLevel(min(before or logging.INFO, logging.INFO))
    logger.addHandler(handler)
    try:
        yield
    except (Exception, SystemExit) as error:
        # Past the logger, whose other handlers show the error on the terminal in one sentence.
        handler.emit(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, explained(error), (), sys.exc_info()))
        if path.is_file() and not handler.failed:
            error.add_note(f"its traceback is in {path}")
        raise
    finally:
        logger.removeHandler(handler)
        with suppress(OSError):
            handler.close()
        logger.setLevel(before)


class _LogFile(logging.FileHandler):
    """A log whose disk may fail: what writes elsewhere fails too, and says so; nothing is printed from here."""

    failed = False

    def format(self, record: logging.LogRecord) -> str:
        """As text: whoever reads the log on a terminal is commanded by no name in it."""
        return printable(super().format(record), keep="\n\t")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, logging's own name
        self.failed = True


def explained(error: BaseException) -> str:
    """An error in one sentence: what, where in a component for what matx did not foresee, and which log says more."""
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    if isinstance(error, MatxError):
        return "; ".join([str(error), *notes])
    place = _component_place(error)
    what = f"{type(error).__name__}: {error}".rstrip(": ") + (f" ({place})" if place else "")
    fault = machine_fault(error)
    if fault is not None:
        return "; ".join([fault.what, fault.help, *notes])
    hint = [] if place or notes else ["this is a defect of matx or of a plug-in: --debug shows where"]
    return "; ".join([what, *notes, *hint])


def machine_fault(error: BaseException) -> Fault | None:
    """The fault of the machine behind an error that no component raised."""
    return None if _component_place(error) else fault_of(error)


def _component_place(error: BaseException) -> str:
    """`FILE:LINE` where a component, or the package that holds it, was last at work; '' for an error of matx itself."""
    components = [cls for registry in REGISTRIES.values() for cls in registry.components.values()]
    packages = {cls.__module__.partition(".")[0] for cls in components} - {"matx"}
    places = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] in packages
    ]
    return places[-1] if places else ""
