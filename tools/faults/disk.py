"""Faults of disk and memory: full, limited, read-only, a folder that is moved or removed, no memory."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .bench import PLUGINS, Bench, recipe
from .commands import Trigger, matx
from .kills import EVAL, RUN, compared, continued, evaluated
from .outcomes import Case, Found, Outcome, SkippedError
from .promises import judged

__all__ = ["CASES"]

_SECTION = "Disk and memory"
_WORDS = r"[Nn]o space|disk|full|too large|limit|[Rr]ead-only|writ|memory|[Nn]o such|gone|deleted|moved"
"""What a sentence about the disk or the memory speaks of."""


@contextmanager
def _mounted(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system in memory of this size, at `small` in a folder."""
    at = folder / "small"
    at.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(at)], capture_output=True, text=True
    )
    if done.returncode:
        raise SkippedError(f"no file system of a given size can be mounted here ({done.stderr.strip()})")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def _remounted(at: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(at)], check=True)


def _full(bench: Bench, folder: Path, number: int) -> Found:
    """`matx run` where the disk is full after some kilobytes, then with more room."""
    wanted = bench.run()
    size = sum(path.stat().st_size for path in wanted.rglob("*") if path.is_file()) // 1024
    room = random.Random(f"full {number}").randint(12, size)
    with _mounted(folder, room) as at:
        (at / "quick.gin").write_text(recipe())
        ended = matx(*RUN, folder=at)
        failed = judged(ended, f"{room} kB", _WORDS)
        if failed is None:
            return compared(at / "run", wanted, Outcome.HARMLESS, f"{room} kB are enough")
        if failed.outcome.failed:
            return failed
        _remounted(at, "size=64m")
        again = matx(*continued(at, RUN), folder=at)
        if again.code != 0:
            return Found(Outcome.LOST, f"{failed.seen}; then {again.error}")
        return compared(at / "run", wanted, Outcome.STOPPED, failed.seen)


def _full_eval(bench: Bench, folder: Path, number: int) -> Found:
    wanted = evaluated(bench)
    size = sum(path.stat().st_size for path in wanted.rglob("*") if path.is_file()) // 1024
    with _mounted(folder, random.Random(f"full eval {number}").randint(4, size)) as at:
        (at / "run").symlink_to(bench.run())
        ended = matx(*EVAL, folder=at)
        failed = judged(ended, "eval", _WORDS)
        if failed is not None and failed.outcome.failed:
            return failed
        _remounted(at, "size=64m")
        again = matx(*EVAL, folder=at)
        if again.code != 0:
            return Found(Outcome.LOST, f"{ended.error}; then {again.error}")
        outcome = Outcome.HARMLESS if failed is None else Outcome.STOPPED
        return compared(at / "eval", wanted, outcome, ended.error, ("results.json", "flags.npz"))


def _limited(bench: Bench, folder: Path, number: int) -> Found:
    """`matx run` that may write no file over a size, then without that limit."""
    wanted = bench.run()
    largest = max(path.stat().st_size for path in wanted.rglob("*") if path.is_file())
    limit = random.Random(f"limit {number}").randint(1000, largest)
    (folder / "quick.gin").write_text(recipe())
    ended = matx(*RUN, folder=folder, limits={resource.RLIMIT_FSIZE: limit})
    failed = judged(ended, f"{limit} bytes a file", _WORDS)
    if failed is None:
        return compared(folder / "run", wanted, Outcome.HARMLESS, f"{limit} bytes are enough")
    if failed.outcome.failed:
        return failed
    again = matx(*continued(folder, RUN), folder=folder)
    if again.code != 0:
        return Found(Outcome.LOST, f"{failed.seen}; then {again.error}")
    return compared(folder / "run", wanted, Outcome.STOPPED, failed.seen)


def _read_only(bench: Bench, folder: Path, number: int) -> Found:
    """A new run, a resumed one, and an evaluation, in a file system that is read-only."""
    with _mounted(folder, 65536) as at:
        (at / "quick.gin").write_text(recipe())
        shutil.copytree(bench.run(), at / "run")
        (at / "run" / "results.json").unlink()
        _remounted(at, "ro")
        words = (("run", "quick.gin", "--device", "cpu"), ("run", "--resume", "run"), EVAL)[number % 3]
        failed = judged(matx(*words, folder=at), " ".join(words), _WORDS)
        _remounted(at, "rw")
        return failed or Found(Outcome.SILENT, f"{words} wrote to a read-only file system")


def _folder_taken(how: str, bench: Bench, folder: Path, number: int) -> Found:
    """The run folder is removed or moved at one of the attack's calls; a moved one goes on where it is."""
    (folder / "quick.gin").write_text(recipe("attacks.probe"))
    words = (*RUN, "--plugin", PLUGINS / "probe.py")
    wanted = bench.straight("probe", *words, text=recipe("attacks.probe")) / "run"
    at = random.Random(f"{how} {number}").randint(1, 12)
    taken = Trigger(
        event="faults.attack", nth=at, remove="run" if how == "removed" else "", move="run" if how == "moved" else ""
    )
    ended = matx(*words, folder=folder, triggers=[taken])
    failed = judged(ended, f"{how} at call {at}", _WORDS)
    if failed is None or failed.outcome.failed or how == "removed":
        return failed or Found(Outcome.SILENT, f"{how} at call {at}: exit code 0")
    again = matx("run", "--resume", "run.elsewhere", "--plugin", PLUGINS / "probe.py", folder=folder)
    if again.code != 0:
        return Found(Outcome.LOST, f"{failed.seen}; then {again.error}")
    return compared(folder / "run.elsewhere", wanted, Outcome.STOPPED, failed.seen)


def _no_memory(bench: Bench, folder: Path, number: int) -> Found:
    """A network whose activations do not fit into what the process may have."""
    (folder / "quick.gin").write_text(recipe())
    width = 256 + 64 * number
    ended = matx(
        *RUN, "-s", f"architectures.tiny.width={width}", folder=folder, limits={resource.RLIMIT_AS: 150_000_000}
    )
    return judged(ended, f"width {width}", "memory") or Found(Outcome.HARMLESS, f"width {width} fits")


CASES = [
    Case(section=_SECTION, fault="the disk is full in `matx run`; then there is more", short=1, long=20, attempt=_full),
    Case(
        section=_SECTION,
        fault="the disk is full in `matx eval`; then there is more",
        short=0,
        long=10,
        attempt=_full_eval,
    ),
    Case(
        section=_SECTION,
        fault="`matx run` under a limit of file size; then without",
        short=0,
        long=20,
        attempt=_limited,
    ),
    Case(
        section=_SECTION,
        fault="a new run, a resumed run, an evaluation on a read-only file system",
        short=1,
        long=12,
        attempt=_read_only,
    ),
    *(
        Case(
            section=_SECTION,
            fault=f"the run folder is {how} while it is trained in",
            short=0,
            long=10,
            attempt=partial(_folder_taken, how),
        )
        for how in ("removed", "moved")
    ),
    Case(
        section=_SECTION, fault="`matx run` with 150 MB more than it begins with", short=1, long=10, attempt=_no_memory
    ),
]
