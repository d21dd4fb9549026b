"""Ctrl-C: the first is heard at a moment when nothing is lost; the second is obeyed at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from matx.runtime.folder import RunFolder

__all__ = ["Interrupted", "held_back"]


class Interrupted(KeyboardInterrupt):
    """The user stopped a run; its folder says where to continue."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(str(folder.path))
        self.folder = folder


@contextmanager
def held_back(
    say: Callable[[str], None], sentence: str, signals: Sequence[signal.Signals] = (signal.SIGINT,)
) -> Iterator[Callable[[], bool]]:
    """Hold the first of these signals back, saying so: the callable given says whether there was one.

    The second raises KeyboardInterrupt. Only the main thread hears signals; in another one nothing is held back.
    """
    heard = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield heard.is_set
        return

    def hear(number: int, frame: FrameType | None) -> None:
        if heard.is_set():
            raise KeyboardInterrupt
        heard.set()
        say(sentence)

    before = {number: signal.signal(number, hear) for number in signals}
    try:
        yield heard.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
