"""TensorBoard's files: a folder a peer, steps that are taken again, and files that are gone or cannot be made."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import matx
from matx.interfaces import Outcome, Record, Scalars, TrackedRun
from matx.runtime.tracking import Trackers

OFF = "trackers.tensorboard is switched off, and the run goes on"


def _tracker() -> Any:
    return matx.trackers["tensorboard"]()


def _loss(step: int, peer: str = "one", value: float = 1.0) -> Scalars:
    return Scalars(group="epoch", values={peer: {"loss": value}}, step=step)


def test_a_folder_that_is_gone_switches_it_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    before = threading.excepthook
    trackers = Trackers([_tracker()], TrackedRun(name="a", folder=tmp_path))
    trackers.tell(_loss(1))
    events: Any = trackers._open["trackers.tensorboard"]
    (writer,) = events.writers.values()
    thread: Any = writer.file_writer.event_writer._async_writer._worker
    writer.flush()
    shutil.rmtree(tmp_path / "tensorboard")
    thread._next_flush_time = 0
    trackers.tell(_loss(2))
    thread.join(60)
    assert isinstance(thread.exception, FileNotFoundError), f"the case shows nothing: {thread.exception}"
    trackers.tell(_loss(3))
    trackers.close(finished=True)
    assert OFF in caplog.text, "nobody is told"
    assert "Traceback" not in capsys.readouterr().err, "the thread's traceback is on the terminal"
    assert threading.excepthook is before, "other threads' failures are not shown as before"


def test_runs_that_take_turns_leave_the_hook_as_it_was(tmp_path: Path) -> None:
    before = threading.excepthook
    events = [_tracker().open(TrackedRun(name="a", folder=tmp_path / name)) for name in ("first", "second")]
    for one in events:
        one.write(_loss(1))
    for one in events:  # the first opened is the first closed
        one.close(finished=True)
    assert threading.excepthook is before, "other threads' failures are not shown as before"


def test_a_folder_that_cannot_be_made_stops_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    trackers = Trackers([_tracker()], TrackedRun(name="a", folder=tmp_path))
    records: Sequence[Record] = (_loss(1), _loss(2), Outcome(metrics={"test/union": 0.5}, step=2))
    with caplog.at_level("WARNING", logger="matx"):
        for record in records:
            trackers.tell(record)
        trackers.close(finished=True)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, f"it is said once: {said}"
    assert OFF in said[0], "what happened, and what it means"


def test_any_peer_has_a_folder_inside(tmp_path: Path) -> None:
    events = _tracker().open(TrackedRun(name="a", folder=tmp_path))
    for peer in ("../out", "..", "a/b", "été 1"):
        events.write(_loss(1, peer))
    events.close(finished=True)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 4, "a folder each, inside"
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"], "and nothing outside"


def test_steps_that_are_taken_again_replace_those_of_before(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps, told in ((0, range(1, 6)), (3, range(4, 7))):
        events = _tracker().open(TrackedRun(name="a", folder=tmp_path, steps=steps))
        for step in told:
            events.write(_loss(step, value=float(10 * steps + step)))
        events.close(finished=False)
    found = EventAccumulator(str(tmp_path / "tensorboard" / "one"))
    found.Reload()
    shown = [(event.step, event.value) for event in found.Scalars("epoch/loss")]
    assert shown == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 34.0), (5, 35.0), (6, 36.0)], "each step is there once"
