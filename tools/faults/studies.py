"""A study that is stopped and killed again and again, against the same study that nothing stopped."""

from __future__ import annotations

import csv
import os
import random
import re
import signal
import time
from pathlib import Path

from .bench import Bench, recipe
from .commands import start
from .outcomes import Case, Found, Outcome

__all__ = ["CASES"]

_TUNE = """Experiment.tune = @Tune()
Tune.space = {
    'strategies.mat.alpha': ('float', 0.0, 1.0),
    'Peer.weight_perturbation': ('float', 0.0, 0.02),
}
Tune.epochs = 2
Tune.seeds = [1001, 1002]
"""
_TRIALS, _INTERRUPTIONS = 30, 16
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_PATIENCE = 1800.0
"""Seconds."""


def _words(trials: int) -> tuple[str, ...]:
    return ("tune", "quick.gin", "--trials", str(trials), "--jobs", "1", "--device", "cpu")


def _interrupted(trials: int, interruptions: int, bench: Bench, folder: Path, number: int) -> Found:
    text, words = recipe() + _TUNE, _words(trials)
    wanted = bench.straight(f"study of {trials}", *words, text=text, patience=_PATIENCE) / "studies" / "quick"
    (folder / "quick.gin").write_text(text)
    study, draw = folder / "studies" / "quick", random.Random(f"study {number}")
    times = 0
    for interruption in range(interruptions):
        if _stopped(study, folder, words, draw, _SIGNALS[interruption % len(_SIGNALS)]):
            times += 1
    ended = start(words, folder).wait(_PATIENCE)
    if ended.code != 0:
        return Found(Outcome.HANG if ended.code is None else Outcome.LOST, ended.error)
    seen = f"{times} interruptions, {trials} trials"
    ours, theirs = _trials(study), _trials(wanted)
    if ours != theirs or len(ours) != trials:
        first = next((pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]), (len(ours), len(theirs)))
        return Found(Outcome.SILENT, f"{seen}: {first}")
    mine, best = _best(study), _best(wanted)
    return Found(Outcome.KEPT, seen) if mine == best else Found(Outcome.SILENT, f"{seen}: best.gin: {mine} {best}")


def _stopped(study: Path, folder: Path, words: tuple[str, ...], draw: random.Random, how: signal.Signals) -> bool:
    """Work on the study until another trial has begun, and a moment longer; False where it ended before."""
    before = _begun(study)
    command = start(words, folder)
    patience = time.monotonic() + _PATIENCE
    while _begun(study) <= before and command.process.is_alive() and time.monotonic() < patience:
        time.sleep(0.02)
    time.sleep(2 * draw.random())
    stopped = command.process.is_alive()
    if how is signal.SIGKILL or command.process.pid is None:
        command.kill()
    else:
        _send(command.process.pid, how)
        command.wait()
    return stopped


def _send(process: int, how: signal.Signals) -> None:
    try:
        os.kill(process, how)
    except ProcessLookupError:  # it has ended by itself
        return


def _begun(study: Path) -> int:
    return len(list((study / "trials").glob("*/log.txt")))


def _trials(study: Path) -> list[dict[str, str]]:
    """trials.csv without what tells one attempt from another: numbers and seconds."""
    with (study / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if key not in _OF_AN_ATTEMPT} for row in rows]


def _best(study: Path) -> str:
    """best.gin without the number of the trial: one that was run again has another."""
    return re.sub(r"\btrial \d+", "trial", (study / "best.gin").read_text())


_OF_AN_ATTEMPT = ("trial", "seconds", "retry_of", "duplicate_of")


def _attempt(bench: Bench, folder: Path, number: int) -> Found:
    return _interrupted(_TRIALS, _INTERRUPTIONS, bench, folder, number)


CASES = [
    Case(
        section="Studies",
        fault=f"`matx tune` of {_TRIALS} trials, stopped {_INTERRUPTIONS} times by SIGKILL, SIGTERM, SIGINT in turn; "
        "states, values, settings, epochs and reasons of all trials and best.gin, but for the numbers of trials that "
        "were run again, against the uninterrupted study",
        short=0,
        long=1,
        attempt=_attempt,
    )
]
