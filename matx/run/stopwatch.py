"""timing.json: how long what took, one entry for each time that the run was started or resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matx.runtime.files import write_json

__all__ = ["Stopwatch", "read_timing"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(eq=False)
class Stopwatch:
    """The wall-clock time of one session of a run."""

    started: str = field(default_factory=_now)
    seconds: dict[str, float] = field(default_factory=dict)
    images: int = 0
    _since: dict[str, float] = field(default_factory=dict)
    _mark: tuple[float, int] = field(default_factory=lambda: (time.monotonic(), 0))

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Add the time inside to `what`."""
        self._since[what] = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - self._since.pop(what)

    def images_per_second(self) -> float:
        """Training images a second since this was last asked."""
        now, (then, before) = time.monotonic(), self._mark
        self._mark = (now, self.images)
        return (self.images - before) / max(1e-9, now - then)

    def write(self, path: Path) -> None:
        """Put this session into timing.json beside the earlier ones."""
        now = time.monotonic()
        running = {what: self.seconds.get(what, 0.0) + now - since for what, since in self._since.items()}
        seconds = {what: round(spent, 3) for what, spent in (self.seconds | running).items()}
        sessions = [old for old in _sessions(path) if old["started"] != self.started]
        sessions.append({"started": self.started, "images": self.images, "seconds": seconds})
        total: dict[str, float] = {}
        for session in sessions:
            for what, spent in session["seconds"].items():
                total[what] = round(total.get(what, 0.0) + spent, 3)
        write_json(path, {"seconds": total, "sessions": sessions})


def _sessions(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_timing(path).get("sessions", [])
    return found


def read_timing(path: Path) -> dict[str, Any]:
    """The content of timing.json; nothing where it is missing, damaged or not as it is written here."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for part in (*found["sessions"], {"started": "", "images": 0, "seconds": found["seconds"]}):
            str(part["started"]), int(part["images"]), {str(what): float(s) for what, s in part["seconds"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    whole: dict[str, Any] = found
    return whole
