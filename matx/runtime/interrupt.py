"""Signals that stop a command: the first is answered at a moment when nothing is lost; the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from types import FrameType

__all__ = ["STOPS", "Interrupted", "continued_by", "deferred_signals", "interrupted_by", "interruptible"]

STOPS = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, what cluster schedulers send before they kill, and the end of a terminal."""


class Interrupted(KeyboardInterrupt):
    """A signal stopped a long command; the message says how it is continued."""

    def __init__(self, how: str = "", number: int | None = None) -> None:
        super().__init__(how)
        self.number = number
        """Of the signal; None: not known."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Let every signal of STOPS raise Interrupted; one that this process was started to ignore stays ignored."""
    with _handled(_interrupt):
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted("", number)


@contextmanager
def interrupted_by(number: signal.Signals) -> Iterator[None]:
    """Let the first of these signals raise Interrupted in a worker process, whose parent sends it."""

    def receive(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Interrupted("", number)

    before = signal.signal(number, receive)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def continued_by(how: str) -> Iterator[None]:
    """Raise Interrupted, which says how to continue, where a signal stops what is inside."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(how, getattr(stop, "number", None)) from stop


@contextmanager
def deferred_signals(say: Callable[[str], None], sentence: str) -> Iterator[Callable[[], bool]]:
    """Defer the first of these signals, saying so: the callable given tells whether there was one.

    One that stopped nothing inside raises Interrupted in the end. The second raises it at once, but not in a worker
    process: its parent kills it where the user insists, and a scheduler sends the first to both. What stops the work
    inside carries the signal's number.
    """
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if received and parent_process() is None:
            raise Interrupted("", number)
        received.append(number)
        say(sentence)

    try:
        with _handled(receive):
            yield lambda: bool(received)
        if received:
            raise Interrupted("", received[0])
    except KeyboardInterrupt as stop:
        if received and getattr(stop, "number", None) is None:
            raise Interrupted(str(stop), received[0]) from stop
        raise


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle STOPS so for a while. Only the main thread receives signals; in another one nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPS}
    heard = [number for number in STOPS if before[number] is not signal.SIG_IGN]
    try:
        for number in heard:
            signal.signal(number, handler)
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
