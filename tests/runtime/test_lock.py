"""One process at a time in a run folder; the system takes the lock back when its holder dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sample_runs import QUICK, sample

from matx.cli import main
from matx.errors import RunError
from matx.run import resume, sweep
from matx.runtime.lock import folder_lock

SLOW = """
import time
from pathlib import Path
from sample_runs import *
from matx.run import run

def wait(given):
    if given.step == 1:
        Path("here").touch()
        time.sleep(600)

if __name__ == "__main__":
    Watched.FATE = staticmethod(wait)
    run(sample(epochs=1, checkpoint_every=1), out=Path("run"), device="cpu")
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    first = subprocess.Popen([sys.executable, "slow.py"], cwd=tmp_path, env=environment)
    try:
        while not (tmp_path / "here").exists():
            assert first.poll() is None, "the first process trains until it is killed"
            time.sleep(0.02)
        before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        with pytest.raises(RunError, match=rf"process {first.pid} on .* is at work in it; allowed: one process"):
            resume(tmp_path / "run", loaded=sample(epochs=1))
        after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        assert after == before, "nothing was changed by the one that was refused"
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (tmp_path / "run" / "lock").is_file(), "a killed process leaves its file behind"
    assert resume(tmp_path / "run", loaded=sample(epochs=1)).finished, "which locks nothing"
    assert not (tmp_path / "run" / "lock").exists(), "and is gone when the run is over"


def test_a_queue_and_an_evaluation_say_which_process_has_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.gin").write_text(
        QUICK.replace("epochs = 2", "epochs = 1").replace("train_limit = 150", "train_limit = 50")
    )
    assert main(["run", "tiny.gin", "--seeds", "0", "--jobs", "1"]) == 0, capsys.readouterr().err
    (folder,) = (one.folder for one in sweep.plan(["tiny.gin"], [], [0]))
    (folder / "results.json").unlink()
    with folder_lock(folder):
        assert main(["run", "tiny.gin", "--seeds", "0", "--jobs", "1"]) == 1, "the queue did not do all"
    said = capsys.readouterr().err
    assert f"failed: {folder}: {folder}: process {os.getpid()}" in said, "it says which run, and who has it"
    again = ["eval", str(folder), "--out", "again", "--no-sanity", "--checkpoint", "last", "-n", "4"]
    assert main(again) == 0, capsys.readouterr().err
    Path("again/results.json").unlink()
    with folder_lock(Path("again")):
        assert main(again) == 2, "an evaluation is continued by one process at a time, too"
    assert f"again: process {os.getpid()}" in capsys.readouterr().err, "it says who has it"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written"), folder_lock(tmp_path / "none"):
        pass


def test_the_lock_is_free_after_use(tmp_path: Path) -> None:
    for _ in range(3):
        with folder_lock(tmp_path):
            assert (tmp_path / "lock").read_text() == f"process {os.getpid()} on {os.uname().nodename}\n", "the holder"
        assert list(tmp_path.iterdir()) == [], "nothing is left"


@pytest.mark.parametrize("name", ["lock", ".lock"])
def test_a_lock_that_points_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "precious.txt"
    elsewhere.write_text("keep")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(RunError, match=rf"/{name}: got a symbolic link to .*precious\.txt, allo"), folder_lock(folder):
        pass
    (folder / name).unlink()
    with folder_lock(folder):
        assert (folder / "lock").read_text().startswith("process"), "the owner is not named"
    assert elsewhere.read_text() == "keep", "what a link points to was written"
