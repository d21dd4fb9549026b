"""Ctrl-C: the first is heard between two steps, so that nothing is lost; the second is obeyed at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from matx.run.folder import RunFolder

__all__ = ["Interrupted", "held_back"]


class Interrupted(KeyboardInterrupt):
    """The user stopped a run; its folder says where to continue."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(str(folder.path))
        self.folder = folder


@contextmanager
def held_back(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back: the callable given says whether there was one. Only the main thread hears signals."""
    heard = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield heard.is_set
        return

    def hear(number: int, frame: FrameType | None) -> None:
        if heard.is_set():
            raise KeyboardInterrupt
        heard.set()
        say("stopping after this step and saving; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield heard.is_set
    finally:
        signal.signal(signal.SIGINT, before)
