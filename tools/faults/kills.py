"""SIGKILL, as a loss of power or a batch system sends it: at random moments, and just before every change of a file."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .bench import Bench, different, partial_files, recipe
from .commands import FILE_CHANGES, Trigger, matx, start
from .outcomes import Case, Found, Outcome

__all__ = ["CASES", "EVAL", "QUEUE", "RUN", "compared", "continued", "evaluated"]

RUN = ("run", "quick.gin", "--out", "run", "--device", "cpu")
EVAL = ("eval", "run", "--out", "eval", "--device", "cpu", "--no-sanity")
QUEUE = ("run", "quick.gin", "--seeds", "0-2", "--out", "queue", "--jobs", "2", "--device", "cpu")
_EVAL_FILES = ("results.json", "flags.npz")
_SECTION = "Kills"


def continued(folder: Path, words: Sequence[str]) -> Sequence[str]:
    """What a user types after a kill: the resume command where there is a run folder, else the same again."""
    return ("run", "--resume", "run") if words == RUN and (folder / "run" / "config.gin").is_file() else words


def compared(found: Path, wanted: Path, outcome: Outcome, seen: str, files: tuple[str, ...] | None = None) -> Found:
    """This outcome, if the figures of two folders are equal and nothing partial is left."""
    names = different(found, wanted) if files is None else different(found, wanted, files)
    if names:
        return Found(Outcome.SILENT, f"{seen}: {', '.join(names)} differ")
    left = partial_files(found)
    return Found(Outcome.LEFTOVER, f"{seen}: {', '.join(left)}") if left else Found(outcome, seen)


def _run_at_random(bench: Bench, folder: Path, number: int) -> Found:
    wanted = bench.run()
    (folder / "quick.gin").write_text(recipe())
    kills = _killed_at_random(folder, RUN, bench, number)
    return _finished(folder, RUN, lambda: compared(folder / "run", wanted, Outcome.RESUMED, f"{kills} kills"))


def _eval_at_random(bench: Bench, folder: Path, number: int) -> Found:
    wanted = evaluated(bench)
    (folder / "run").symlink_to(bench.run())
    kills = _killed_at_random(folder, EVAL, bench, number)
    return _finished(
        folder, EVAL, lambda: compared(folder / "eval", wanted, Outcome.RESUMED, f"{kills} kills", _EVAL_FILES)
    )


def _queue_at_random(bench: Bench, folder: Path, number: int) -> Found:
    wanted = bench.straight("queue", *QUEUE, text=recipe()) / "queue"
    (folder / "quick.gin").write_text(recipe())
    kills = _killed_at_random(folder, QUEUE, bench, number)

    def judge() -> Found:
        found = [compared(folder / "queue" / run.name, run, Outcome.RESUMED, f"{kills} kills") for run in _runs(wanted)]
        return next((one for one in found if one.outcome.failed), found[0])

    return _finished(folder, QUEUE, judge)


def _runs(queue: Path) -> list[Path]:
    found = sorted(path for path in queue.iterdir() if (path / "config.gin").is_file())
    assert len(found) == 3, f"a queue of three seeds left {found}"
    return found


def evaluated(bench: Bench) -> Path:
    """The folder of an evaluation to which nothing happened."""
    return bench.straight("evaluated", *EVAL, text=recipe(), run=bench.run()) / "eval"


def _killed_at_random(folder: Path, words: Sequence[str], bench: Bench, number: int) -> int:
    """Begin, and kill one to three times at moments drawn from the length of an unharmed command; how often it was."""
    draw, length, kills = random.Random(f"{words} {number}"), bench.seconds[tuple(words)], 0
    for _ in range(draw.randint(1, 3)):
        command = start(continued(folder, words), folder)
        time.sleep(length * draw.random())
        if command.process.is_alive():
            command.kill(group=draw.random() < 0.5)
            kills += 1
    return kills


def _finished(folder: Path, words: Sequence[str], judge: Callable[[], Found]) -> Found:
    """Continue to the end, and judge what is there then."""
    for _ in range(3):  # the workers of a killed queue end a moment after it, and have their folders until then
        ended = matx(*continued(folder, words), folder=folder)
        if "is at work in it" not in ended.said:
            break
        time.sleep(2)
    if ended.code is None:
        return Found(Outcome.HANG, ended.error)
    return judge() if ended.code == 0 else Found(Outcome.LOST, ended.error)


def _before_a_change(bench: Bench, folder: Path, number: int) -> Found:
    """Killed just before one of the changes of files that a run makes: each in turn, spread over the run."""
    wanted = bench.run()
    (folder / "quick.gin").write_text(recipe())
    count = bench.kept("changes", lambda: _counting(bench))
    at = 1 + (number * 37) % count
    ended = matx(*RUN, folder=folder, triggers=[_change(at)])
    if ended.code != -signal.SIGKILL:
        return Found(Outcome.LOST, f"change {at} of {count} was not reached: {ended.error}")
    return _finished(folder, RUN, lambda: compared(folder / "run", wanted, Outcome.RESUMED, f"change {at} of {count}"))


def _change(nth: int) -> Trigger:
    return Trigger(event=FILE_CHANGES, matching="run", nth=nth, send=signal.SIGKILL if nth else 0)


def _counting(bench: Bench) -> int:
    folder = bench.new()
    (folder / "quick.gin").write_text(recipe())
    return matx(*RUN, folder=folder, triggers=[_change(0)]).counts[0]


CASES = [
    Case(
        section=_SECTION, fault="`matx run`, at one to three random moments", short=1, long=40, attempt=_run_at_random
    ),
    Case(
        section=_SECTION,
        fault="`matx run`, just before it opens, renames, links or removes a file (spread over all such changes of a "
        "run)",
        short=1,
        long=134,
        attempt=_before_a_change,
    ),
    Case(
        section=_SECTION, fault="`matx eval`, at one to three random moments", short=0, long=20, attempt=_eval_at_random
    ),
    Case(
        section=_SECTION,
        fault="a queue of three runs on two workers, at one to three random moments",
        short=0,
        long=6,
        attempt=_queue_at_random,
    ),
]
