"""Contracts of trackers, told what a run tells, through an interruption after which some of it is told again."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from matx.interfaces import Outcome, Picture, Record, Scalars, Table, Text, TrackedRun, Tracker
from matx.testing.trial import require

__all__ = ["CONTRACTS", "leaves_the_process_as_it_was", "says_what_it_lacks", "says_where", "takes_every_record"]

_SETTINGS: dict[str, bool | int | float | str] = {"strategy": "mat", "strategy.alpha": 0.5, "epochs": 2, "seed": 0}


def _records(first: int, last: int) -> Iterator[Record]:
    """What a run tells between two steps; peers and terms have names as runs give them."""
    for step in range(first, last + 1):
        yield Scalars(group="step", values={"linf": {"loss": 1.0 / step, "kl": 0.5}, "été_1": {"loss": 0.2}}, step=step)
        yield Scalars(group="lr", values={"linf": {"": 0.1}, "été_1": {"": 0.1}}, step=step)
    yield Scalars(group="validation", values={"linf": {"linf:8/255": 0.5}, "": {"score": 0.5}}, step=last)
    yield Picture(name="adversarial", peer="linf", pixels=torch.full((3, 20, 30), 0.5), step=last)


def _ending(step: int) -> Sequence[Record]:
    return (
        Scalars(group="test", values={"linf": {"linf:8/255 (8-bit)": 0.4}, "": {"union": 0.3}}, step=step),
        Table(name="transfer/linf:8/255", head=("examples of", "linf"), rows=(("linf", "40.0 %"),), step=step),
        Outcome(metrics={"test/union": 0.3}, step=step),
    )


def _run(folder: Path, steps: int = 0) -> TrackedRun:
    return TrackedRun(name="contract", folder=folder, steps=steps, settings=_SETTINGS)


def _told(tracker: Tracker, run: TrackedRun, records: Sequence[Record], *, finished: bool) -> None:
    tracking = tracker.open(run)
    for record in records:
        tracking.write(record)
    tracking.close(finished=finished)


def says_what_it_lacks(tracker: Tracker) -> None:
    """None where it can work, else one sentence with the way out; a run is refused by it before anything is trained."""
    sentence = tracker.lacks()
    require(
        sentence is None or (isinstance(sentence, str) and sentence.count("\n") == 0 < len(sentence)),
        f"{tracker!r} says of what it lacks {sentence!r}, allowed: None or one sentence",
    )
    require(sentence is None, f"{tracker!r} {sentence}")


def says_where(tracker: Tracker) -> None:
    """Where a run's curves are found, on one line, for a run that it has written and for one that it has not."""
    with tempfile.TemporaryDirectory() as folder:
        said = tracker.where(Path(folder))
    require(
        isinstance(said, str) and bool(said) and "\n" not in said,
        f"{tracker!r} says of where its curves are {said!r}, allowed: one line",
    )


def takes_every_record(tracker: Tracker) -> None:
    """Every kind of record, of a run that begins and goes on; records stay as they are, links inside the folder."""
    require(tracker.lacks() is None, f"{tracker!r} cannot be tried, as it {tracker.lacks()}")
    with tempfile.TemporaryDirectory() as folder:
        config = Text(name="config", markdown="    Experiment.epochs = 2", step=0)
        first, again = [config, *_records(1, 5)], [*_records(4, 8), *_ending(8)]
        before = [repr(record) for record in (*first, *again)]
        pixels = [record.pixels.clone() for record in (*first, *again) if isinstance(record, Picture)]
        _told(tracker, _run(Path(folder)), first, finished=False)
        _told(tracker, _run(Path(folder), steps=3), again, finished=True)
        home = Path(folder).resolve()
        out = [path for path in home.rglob("*") if path.is_symlink() and not path.resolve().is_relative_to(home)]
        require(not out, f"{tracker!r} leaves links out of the run's folder, which is then not resumed: {out}")
        after = [record.pixels for record in (*first, *again) if isinstance(record, Picture)]
        same = before == [repr(record) for record in (*first, *again)] and all(map(torch.equal, pixels, after))
        require(same, f"{tracker!r} changes the records that it was given: copy what is to be changed")


def leaves_the_process_as_it_was(tracker: Tracker) -> None:
    """Closed, it has left signals, hooks, working directory and torch's generator as they were: no figure changes."""
    require(tracker.lacks() is None, f"{tracker!r} cannot be tried, as it {tracker.lacks()}")
    before, state = _process(), torch.get_rng_state()
    with tempfile.TemporaryDirectory() as folder:
        _told(tracker, _run(Path(folder)), [*_records(1, 2), *_ending(2)], finished=True)
    after = _process()
    _put_back(before)
    changed = [name for name, value in before.items() if after[name] != value]
    changed += [] if torch.equal(state, torch.get_rng_state()) else ["torch's generator"]
    require(not changed, f"{tracker!r} leaves changed: {', '.join(changed)}; put them back")


def _process() -> dict[str, Any]:
    """What a run relies on, in the process that it shares with its trackers."""
    return {
        **{one.name: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)},
        "sys.excepthook": sys.excepthook,
        "sys.exit": sys.exit,
        "threading.excepthook": threading.excepthook,
        "sys.stdout": sys.stdout,
        "sys.stderr": sys.stderr,
        "the working directory": os.getcwd(),
        "torch's threads": torch.get_num_threads(),
    }


def _put_back(before: dict[str, Any]) -> None:
    """What may go wrong later in whoever runs the contracts."""
    sys.excepthook, sys.exit = before["sys.excepthook"], before["sys.exit"]
    threading.excepthook = before["threading.excepthook"]
    os.chdir(before["the working directory"])
    if threading.current_thread() is threading.main_thread():
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, before[one.name])


CONTRACTS: tuple[Callable[[Any], None], ...] = (
    says_what_it_lacks,
    says_where,
    takes_every_record,
    leaves_the_process_as_it_was,
)
"""The contracts of this file."""
