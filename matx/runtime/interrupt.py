"""Ctrl-C: the first is answered at a moment when nothing is lost; the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "continued_by", "deferred_signals"]


class Interrupted(KeyboardInterrupt):
    """The user stopped a long command; the message says how it is continued."""


@contextmanager
def continued_by(how: str) -> Iterator[None]:
    """Raise Interrupted, which says how to continue, where the user stops what is inside."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(how) from stop


@contextmanager
def deferred_signals(
    say: Callable[[str], None], sentence: str, signals: Sequence[signal.Signals] = (signal.SIGINT,)
) -> Iterator[Callable[[], bool]]:
    """Defer the first of these signals, saying so: the callable given tells whether there was one.

    The second raises KeyboardInterrupt. Only the main thread receives signals; in another one nothing is deferred.
    """
    received = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield received.is_set
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if received.is_set():
            raise KeyboardInterrupt
        received.set()
        say(sentence)

    before = {number: signal.signal(number, receive) for number in signals}
    try:
        yield received.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
