"""Many processes on one study, killed in mid-trial: each slot has one result, on PostgreSQL and on a journal file."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from matx.tune.storage import close_storage, open_storage
from matx.tune.trial_queue import finished_trials
from tune import synthetic

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a real, empty PostgreSQL of this test's own."""
    script = str(ROOT / "tools" / "postgres.sh")
    started = subprocess.run(["bash", script, "start"], capture_output=True, text=True, timeout=300)
    assert started.returncode == 0, f"the server must start: {started.stderr}"
    folder, url = started.stdout.split()
    yield url
    subprocess.run(["bash", script, "stop", folder], check=True, timeout=60)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _killed(worker: int) -> bool:
    """Kill a process; False where it has ended by itself, as one does whose parent was killed."""
    try:
        os.kill(worker, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@dataclass
class StudyProcesses:
    """Several processes on one study, each with a worker process of its own."""

    storage: str
    total: int
    log: Path

    def start(self, host: str | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, synthetic.__file__, self.storage, "soak", str(self.total), "--log", str(self.log)]
        return subprocess.Popen([*command, *(["--host", host] if host else [])])

    def noted(self, what: str) -> list[list[str]]:
        """The log's lines that begin so, as words."""
        text = self.log.read_text() if self.log.exists() else ""
        return [line.split() for line in text.splitlines() if line.startswith(what)]

    def wait_for(self, count: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        """Until so many trainings are done; an error where every process has ended before."""
        while len(self.noted("done")) < count:
            assert any(process.poll() is None for process in processes), "one process must be running"
            time.sleep(0.01)

    def kill_a_worker(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        """Kill a worker process that is in the middle of a trial."""
        while True:
            done = {number for _, number, _ in self.noted("done")}
            for _, number, worker in reversed(self.noted("began")):
                if number not in done and _killed(int(worker)):
                    return
            assert any(process.poll() is None for process in processes), "one process must be running"
            time.sleep(0.005)

    def trials(self) -> list[FrozenTrial]:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = open_storage(self.storage)
        trials = optuna.load_study(study_name="soak", storage=storage).get_trials()
        close_storage(storage)
        return trials


def check_nothing_lost_and_nothing_doubled(study: StudyProcesses, kills: int) -> None:
    trials = study.trials()
    over = finished_trials(trials, study.total)
    assert len(over) == study.total, "every slot has one result"
    assert not [trial for trial in trials if trial.state in (TrialState.RUNNING, TrialState.WAITING)], "nothing is left"
    originals = [
        trial for trial in trials if "retry_of" not in trial.user_attrs and not trial.user_attrs.get("surplus")
    ]
    assert len(originals) == study.total, "as many slots were begun as there are"
    starts = [trial.user_attrs.get("start") for trial in originals if "start" in trial.user_attrs]
    assert sorted(starts) == ["plain", "recipe"], "the starting points were run once each"
    lost = [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL and "outcome" not in trial.user_attrs and not trial.user_attrs.get("surplus")
    ]
    assert 1 <= len(lost) <= kills, "a kill loses one trial at most, and these kills hit trials that were being trained"
    ran_again = collections.Counter(
        trial.user_attrs["retry_of"] for trial in trials if "retry_of" in trial.user_attrs and trial in over
    )
    for trial in lost:
        assert ran_again[trial.number] == 1, f"lost trial {trial.number} was run again once"
    assert len(ran_again) == len(lost), "nothing else was"
    done = collections.Counter(int(number) for _, number, _ in study.noted("done"))
    assert max(done.values()) == 1, "no trial was trained twice"


@pytest.mark.parametrize("total", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_four_processes_and_three_kills_on_postgresql(postgres: str, tmp_path: Path, total: int) -> None:
    study = StudyProcesses(postgres, total, tmp_path / "log")
    processes = [study.start(), study.start(host="elsewhere"), study.start(), study.start()]
    study.wait_for(total // 10, processes)
    kill(processes[0])  # its trial is seen to be lost at once: the process is gone from this machine
    study.wait_for(3 * total // 10, processes)
    kill(processes[1])  # as if on another machine: its lease does not change
    study.wait_for(total // 2, processes)
    study.kill_a_worker(processes)  # its process notices and goes on
    assert [process.wait(timeout=300) for process in processes[2:]] == [0, 0], "the others work to the end"
    check_nothing_lost_and_nothing_doubled(study, kills=3)


@pytest.mark.slow
def test_a_journal_file_survives_kills_too(tmp_path: Path) -> None:
    study = StudyProcesses(str(tmp_path / "journal.log"), 40, tmp_path / "log")
    processes = [study.start(), study.start(host="elsewhere")]
    study.wait_for(8, processes)
    kill(processes[1])
    study.wait_for(16, processes)
    study.kill_a_worker(processes)
    assert processes[0].wait(timeout=300) == 0, "the other works to the end"
    check_nothing_lost_and_nothing_doubled(study, kills=2)


def test_one_process_continues_after_all_was_killed(tmp_path: Path) -> None:
    study = StudyProcesses(str(tmp_path / "journal.log"), 12, tmp_path / "log")
    first = study.start()
    study.wait_for(4, [first])
    study.kill_a_worker([first])
    kill(first)
    last = study.start()
    assert last.wait(timeout=120) == 0, "the same command continues to the total"
    check_nothing_lost_and_nothing_doubled(study, kills=2)
