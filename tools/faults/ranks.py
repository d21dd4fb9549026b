"""Processes that train one run together, one of which is killed."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from .bench import Bench, recipe
from .commands import matx, start
from .kills import compared
from .outcomes import Case, Found, Outcome, SkippedError
from .promises import judged

__all__ = ["CASES"]

_TWO = ("run", "quick.gin", "--out", "run", "--device", "cpu", "--processes", "2")


def _killed_rank(bench: Bench, folder: Path, number: int) -> Found:
    if "--processes" not in matx("run", "--help", folder=folder).said:
        raise SkippedError("`matx run` has no --processes")
    wanted = bench.straight("two processes", *_TWO, text=recipe()) / "run"
    (folder / "quick.gin").write_text(recipe())
    command = start(_TWO, folder)
    assert command.process.pid is not None, "the command was started"
    metrics, draw = folder / "run" / "metrics.jsonl", random.Random(f"rank {number}")
    while not (metrics.exists() and metrics.stat().st_size) and command.process.is_alive():
        time.sleep(0.01)
    time.sleep(0.3 * draw.random())
    ranks = _workers(command.process.pid)
    for process in ranks[:1]:
        os.kill(process, signal.SIGKILL)
    ended = command.wait()
    failed = judged(ended, f"{len(ranks)} ranks", "process|rank")
    if failed is None or failed.outcome.failed:
        return failed or compared(folder / "run", wanted, Outcome.HARMLESS, "it had ended before")
    again = matx("run", "--resume", "run", "--processes", "2", folder=folder)
    if again.code != 0:
        return Found(Outcome.LOST, f"{failed.seen}; then {again.error}")
    return compared(folder / "run", wanted, Outcome.STOPPED, failed.seen)


def _workers(parent: int) -> list[int]:
    """The processes that a process started, but for the one that tracks resources."""
    children = " ".join((task / "children").read_text() for task in Path(f"/proc/{parent}/task").iterdir()).split()
    return [int(one) for one in children if "resource_tracker" not in Path(f"/proc/{one}/cmdline").read_text()]


CASES = [
    Case(
        section="Several processes",
        fault="one of two processes of a run is killed by SIGKILL at a random moment",
        short=0,
        long=10,
        attempt=_killed_rank,
    )
]
