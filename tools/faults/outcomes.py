"""What a fault can lead to: a closed set of outcomes, and the cases that are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from .bench import Bench

__all__ = ["Case", "Found", "Outcome", "SkippedError"]


class Outcome(Enum):
    """How a try ended, in the words of the page; the last ones are failures."""

    RESUMED = "continued; figures equal bit for bit"
    STOPPED = "saved, said how to continue; figures equal bit for bit"
    PREVIOUS = "named; the checkpoint before was used; figures equal bit for bit"
    REFUSED = "refused in one sentence"
    NAMED = "named in one sentence"
    HARMLESS = "without effect: figures equal bit for bit"
    UNCHANGED = "read as written: no content was changed"
    AS_GIN = "read, as gin itself reads it"
    UNHARMED = "done, and nothing of it was run or written"
    KEPT = "nothing lost, nothing doubled"

    SILENT = "silently wrong"
    LOST = "could not be continued"
    TRACEBACK = "a traceback instead of a sentence"
    BLAMED = "called a defect of matx or of a plug-in"
    UNNAMED = "an error that does not say where"
    HANG = "hung"
    ESCAPED = "code ran, or a file was written, that must not"
    LEFTOVER = "left a partial file behind"

    @property
    def failed(self) -> bool:
        """Whether this must not happen."""
        return list(Outcome).index(self) >= list(Outcome).index(Outcome.SILENT)


class SkippedError(Exception):
    """A case cannot be made on this machine; the message says why."""


@dataclass(frozen=True)
class Found:
    """The outcome of one try, and what was seen."""

    outcome: Outcome
    seen: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault: how it is made, and how often it is tried."""

    section: str
    fault: str
    """In the words of the page; unique."""
    short: int
    """Tries in the short form, which the tests run; 0: in the long form alone."""
    long: int
    attempt: Callable[[Bench, Path, int], Found]
    """attempt(bench, an empty folder, number of the try) -> Found: the same for the same number, but for timing."""


def counted(found: Mapping[str, int]) -> int:
    """How many tries failed, of {outcome: how many}."""
    return sum(count for text, count in found.items() if Outcome(text).failed)
