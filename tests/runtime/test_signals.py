"""What schedulers and terminals send: it is answered as Ctrl-C is, in every long command."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from matx.interfaces import AttackInput
from matx.run import resume, run
from matx.runtime import checkpoint
from matx.runtime.folder import RunFolder
from matx.runtime.interrupt import STOPS, Interrupted, interruptible
from tests.run.test_resume import assert_equal_runs
from tests.sample_runs import QUICK, Judged, Watched, nothing, sample

LONG = QUICK.replace("Experiment.epochs = 2", "Experiment.epochs = 2000").replace("steps = 2", "steps = 1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_the_step_and_names_the_command(
    tmp_path: Path, straight: RunFolder, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    sent: list[int] = []

    def send(given: AttackInput) -> None:
        if given.step == 6 and not sent:
            sent.append(number)
            signal.raise_signal(number)

    monkeypatch.setattr(Watched, "FATE", staticmethod(send))
    monkeypatch.setattr(Judged, "FATE", staticmethod(nothing))
    with pytest.raises(Interrupted) as stopped:
        run(sample(), out=tmp_path / "run", device="cpu")
    folder = RunFolder(tmp_path / "run")
    assert str(stopped.value) == f"continue with: matx run --resume {folder.path}", "it does not say how to continue"
    assert stopped.value.number == number, "it does not say which signal it was"
    assert checkpoint.load(folder.last).training["position"] == [1, 3], "the step at hand was not finished and saved"
    resume(folder.path, loaded=sample(checkpoint_every=3))
    assert_equal_runs(folder, straight)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    sent: list[int] = []

    def send(given: AttackInput) -> None:
        if given.step == 6:
            sent.append(number)
            signal.raise_signal(number)

    monkeypatch.setattr(Watched, "FATE", staticmethod(send))
    with pytest.raises(Interrupted):
        run(sample(), out=tmp_path / "run", device="cpu")
    assert len(sent) == 2, f"two peers' attacks of one step send a signal each; sent: {sent}"
    folder = RunFolder(tmp_path / "run")
    assert checkpoint.load(folder.last).training["position"] == [1, 0], (
        "the last whole checkpoint is not left as it was"
    )


def test_a_signal_that_was_ignored_from_the_start_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, "what nohup ignores would stop the command"
    finally:
        signal.signal(signal.SIGHUP, before)
    kept = {number: signal.getsignal(number) for number in STOPS}
    with interruptible(), pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)
    assert {number: signal.getsignal(number) for number in STOPS} == kept, "handlers are not put back"


def started(home: Path, *arguments: str) -> subprocess.Popen[str]:
    (home / "long.gin").write_text(LONG)
    command = [sys.executable, "-m", "matx", *arguments, "--device", "cpu"]
    return subprocess.Popen(command, cwd=home, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_for(true: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert process.poll() is None, f"the command ended early: {process.stderr and process.stderr.read()}"
        assert time.monotonic() < deadline, "the command does not come so far"
        time.sleep(0.05)


def steps(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.read_text().count('"kind": "epoch"') if metrics.is_file() else 0


def test_a_run_of_the_command_line_ends_with_the_signals_code(tmp_path: Path) -> None:
    process = started(tmp_path, "run", "long.gin", "--out", "run")
    wait_for(lambda: steps(tmp_path / "run") > 1, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=240)[1]
    assert process.returncode == 128 + signal.SIGTERM, f"the exit code is {process.returncode}: {said}"
    assert "stopped by SIGTERM; continue with: matx run --resume run" in said, f"it says: {said}"


def test_a_queue_saves_its_runs_first(tmp_path: Path) -> None:
    process = started(tmp_path, "run", "long.gin", "--seeds", "0-1", "--jobs", "2", "--out", "queue")
    folders = [RunFolder(tmp_path / "queue" / f"long-seed{seed}") for seed in (0, 1)]
    wait_for(lambda: all(steps(folder.path) > 1 for folder in folders), process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=240)[1]
    assert process.returncode == 128 + signal.SIGTERM, f"the exit code is {process.returncode}: {said}"
    assert "stopped by SIGTERM; the same command continues the queue" in said, f"it says: {said}"
    for folder in folders:
        assert "stopped by the user" in folder.log.read_text(), f"{folder.path} was killed before it had saved"
        assert checkpoint.load(folder.last).training["position"][0] >= 1, f"{folder.path} lost its steps"


def test_a_terminal_that_is_gone_stops_the_run_as_ctrl_c_does(tmp_path: Path) -> None:
    (tmp_path / "long.gin").write_text(LONG)
    child, terminal = pty.fork()
    if not child:
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "matx", "run", "long.gin", "--out", "run", "--device", "cpu"])
    os.set_blocking(terminal, False)
    deadline = time.monotonic() + 240
    while steps(tmp_path / "run") < 2:
        assert time.monotonic() < deadline, "the run does not come so far"
        try:
            os.read(terminal, 65536)
        except OSError:
            time.sleep(0.05)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    folder = RunFolder(tmp_path / "run")
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP, f"it ended with {status}"
    assert "stopped by the user" in folder.log.read_text(), "the log does not say that the run was stopped"
    assert checkpoint.load(folder.last).training["position"][0] >= 1, "nothing was saved"
