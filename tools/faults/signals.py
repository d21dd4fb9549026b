"""Signals that ask a command to stop, in each phase of its work, and two of them in a row."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .bench import PLUGINS, Bench, recipe
from .commands import Ended, Trigger, matx
from .kills import compared
from .outcomes import Case, Found, Outcome

__all__ = ["CASES"]

_PROBE = ("--plugin", PLUGINS / "probe.py")
_RUN = ("run", "quick.gin", "--out", "run", "--device", "cpu", *_PROBE)
_EVAL = ("eval", "run", "--out", "eval", "--device", "cpu", "--no-sanity", *_PROBE)
_PHASES = {
    "a training step": ("faults.attack", "training", 3),
    "a validation": ("faults.attack", "validation", 1),
    "the saving of a checkpoint": ("os.rename", r"checkpoints/last\.pt", 2),
    "the evaluation": ("faults.attack", "test", 1),
}
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def _straight(bench: Bench) -> Path:
    return bench.straight("probe", *_RUN, text=recipe("attacks.probe"))


def _stopped_run(phase: str, again: bool, bench: Bench, folder: Path, number: int) -> Found:
    """One of the signals in a phase of `matx run`, each round of them later; again: a second one at the next event."""
    wanted = _straight(bench) / "run"
    (folder / "quick.gin").write_text(recipe("attacks.probe"))
    sent = _SIGNALS[number % len(_SIGNALS)]
    event, matching, first = _PHASES[phase]
    nth = first + number // len(_SIGNALS)
    triggers = [Trigger(event=event, matching=matching, nth=nth, send=sent)]
    if again:
        triggers.append(Trigger(event=event, matching=matching, nth=nth + 1, send=sent))
    ended = matx(*_RUN, folder=folder, triggers=triggers)
    return _continued(ended, sent, folder) or compared(folder / "run", wanted, Outcome.STOPPED, sent.name)


def _stopped_eval(bench: Bench, folder: Path, number: int) -> Found:
    straight = _straight(bench)
    wanted = bench.straight("probe eval", *_EVAL, text=recipe("attacks.probe"), run=straight / "run") / "eval"
    (folder / "run").symlink_to(straight / "run")
    sent = _SIGNALS[number % len(_SIGNALS)]
    sending = Trigger(event="faults.attack", matching="test", nth=2 + number // len(_SIGNALS), send=sent)
    ended = matx(*_EVAL, folder=folder, triggers=[sending])
    failed = _continued(ended, sent, folder, same=_EVAL)
    return failed or compared(folder / "eval", wanted, Outcome.STOPPED, sent.name, ("results.json", "flags.npz"))


def _continued(ended: Ended, sent: signal.Signals, folder: Path, same: Sequence[object] = ()) -> Found | None:
    """What was wrong about a stop; None: it is as promised, and what it said continues was run to its end."""
    seen = f"{sent.name}: {ended.error}"
    if ended.code is None:
        return Found(Outcome.HANG, seen)
    if not ended.fired or ended.code == 0:
        return Found(Outcome.SILENT, f"{sent.name}: not answered, exit code {ended.code}: {ended.error}")
    if "Traceback (most recent call last)" in ended.said:
        return Found(Outcome.TRACEBACK, seen)
    if ended.code < 0:
        return Found(Outcome.UNNAMED, f"{sent.name}: ended by signal {-ended.code} without a word")
    printed = re.search(r"continue with: matx (.*)$", ended.said, re.M)
    if printed is None and not (same and "the same command continues" in ended.said):
        return Found(Outcome.UNNAMED, seen)
    again = matx(*(shlex.split(printed[1]) if printed else same), folder=folder)
    return None if again.code == 0 else Found(Outcome.LOST, f"{seen}; then {again.error}")


CASES = [
    *(
        Case(
            section="Signals",
            fault=f"SIGTERM, SIGHUP, SIGINT in {phase} of `matx run`",
            short=phase == "a training step",
            long=12,
            attempt=partial(_stopped_run, phase, False),
        )
        for phase in _PHASES
    ),
    Case(
        section="Signals",
        fault="two of them within two training steps of `matx run`",
        short=0,
        long=12,
        attempt=partial(_stopped_run, "a training step", True),
    ),
    Case(section="Signals", fault="SIGTERM, SIGHUP, SIGINT in `matx eval`", short=0, long=12, attempt=_stopped_eval),
]
