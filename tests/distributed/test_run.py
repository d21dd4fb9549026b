"""Runs of several processes by command line: who writes, what happens where one is lost, and how it goes on.

`pytest tests/distributed -m "slow or not slow"` also kills the other ranks, lets one hang, and tries every example of
every strategy.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from sample_runs import QUICK

from matx.cli import main
from matx.distributed.joining import _backend
from matx.errors import RunError
from tests.distributed.together import environment, free_port

SABOTEUR = """
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import matx


@matx.attacks.register("saboteur")
@dataclass(frozen=True, kw_only=True)
class Saboteur:
    kind = "maximise"
    threat: matx.ThreatModel

    def __call__(self, given):
        what, marker = os.environ.get("SABOTAGE", ""), Path("sabotaged")
        if what and given.step == 4 and os.environ.get("RANK") == os.environ["VICTIM"] and not marker.exists():
            marker.touch()
            if what == "raise":
                raise matx.errors.ModelError("the victim's own sentence")
            os.kill(os.getpid(), signal.Signals[what])
        return matx.attacks["pgd"](threat=self.threat, steps=2)(given)
"""
CHOSEN = ("Peer.attacks = [@attacks.pgd()]", "Peer.attacks = [@attacks.saboteur()]")
RECIPE = "import saboteur\n" + QUICK.replace(*CHOSEN) + "attacks.saboteur.threat = @ThreatModel()\n"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "saboteur.py").write_text(SABOTEUR)
    (tmp_path / "quick.gin").write_text(RECIPE)
    return tmp_path


def command(
    place: Path, *words: str, launcher: list[str] | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """`matx WORDS` in the folder, by a launcher if one is given."""
    # One thread each, and the folder itself as the place of the plug-in.
    paths = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*(launcher or [sys.executable]), "-m", "matx", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "VICTIM": "1", **more},
        capture_output=True,
        text=True,
        timeout=900,
    )


def said_by_matx(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of standard error, without those of torch's launcher."""
    return [line for line in done.stderr.splitlines() if line.startswith(("Error", "stopped"))]


def test_only_rank_0_writes_and_the_run_is_that_of_one_process(place: Path) -> None:
    done = command(place, "run", "quick.gin", "--processes", "2", "--out", "two")
    assert done.returncode == 0, f"the run failed: {done.stderr}"
    assert done.stdout.count("run folder  two") == 1, "the results are not shown once"
    single = command(place, "run", "quick.gin", "--out", "one")
    assert single.returncode == 0, f"the run of one process failed: {single.stderr}"
    names = {path.name for path in (place / "two").iterdir()}
    assert names - {path.name for path in (place / "one").iterdir()} == {"log-rank1.txt"}, (
        "rank 1 wrote more than a log"
    )
    assert "finished" in (place / "two" / "log-rank1.txt").read_text(), "rank 1's log is empty"
    assert json.loads((place / "two" / "environment.json").read_text())["processes"] == 2, "processes are not recorded"
    rows = [
        [json.loads(line) for line in (place / folder / "metrics.jsonl").read_text().splitlines()]
        for folder in ("two", "one")
    ]
    kinds = [[(row["kind"], row["epoch"]) for row in some] for some in rows]
    assert kinds[0] == kinds[1], "metrics.jsonl has other rows than one process writes"
    passes = [some[-1]["passes"] for some in rows]
    assert passes[0] == passes[1], "the passes of two processes are not those of one"


@pytest.mark.parametrize(
    ("launcher", "victim"),
    [
        pytest.param(None, "0", id="processes-0", marks=pytest.mark.slow),
        pytest.param(None, "1", id="processes-1", marks=pytest.mark.slow),
        pytest.param(TORCHRUN, "0", id="torchrun-0", marks=pytest.mark.slow),
        pytest.param(TORCHRUN, "1", id="torchrun-1"),
    ],
)
def test_a_killed_rank_stops_all_and_the_run_is_resumed(place: Path, launcher: list[str] | None, victim: str) -> None:
    """Whoever is killed; the run goes on with another number of processes."""
    words = ["run", "quick.gin", "--out", "run", *([] if launcher else ["--processes", "2"])]
    done = command(place, *words, launcher=launcher, SABOTAGE="SIGKILL", VICTIM=victim)
    assert done.returncode != 0, "the run with a killed rank ended well"
    assert time.time() - (place / "sabotaged").stat().st_mtime < 30, "the processes did not stop within 30 s"
    again = (
        "torchrun --nproc-per-node 2 -m matx run --resume run --trust"
        if launcher
        else "matx run --resume run --trust --processes 2"
    )
    if victim == "1" or launcher is None:
        last = said_by_matx(done)[-1]
        assert last.endswith(f"continue with: {again}"), f"the last line is not how to continue: {last}"
        assert f"rank {victim}" in last, f"the rank that was killed is not named: {last}"
    stored = torch.load(place / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert stored["training"]["position"] == [1, 0], "the checkpoint before is whole"
    done = command(place, "run", "--resume", "run", "--trust")
    assert done.returncode == 0, f"one process does not resume the run of two: {done.stderr}"
    assert "processes: 2 -> 1" in (place / "run" / "log.txt").read_text(), "the other number of processes is not said"
    assert json.loads((place / "run" / "results.json").read_text())["schema"] == 2, "there are no results"


@pytest.mark.slow
def test_a_hanging_rank_is_named(place: Path) -> None:
    done = command(
        place, "run", "quick.gin", "--out", "run", "--processes", "3",
        SABOTAGE="SIGSTOP", VICTIM="2", MATX_TIMEOUT="15",
    )  # fmt: skip
    assert done.returncode != 0, "the run with a hanging rank ended well"
    (sentence,) = said_by_matx(done)
    assert "rank 2 of 3 was killed, or did not answer within 15 s" in sentence, f"who hangs is not said: {sentence}"


def test_the_error_of_another_rank_is_said_by_rank_0(place: Path) -> None:
    done = command(place, "run", "quick.gin", "--out", "run", "--processes", "2", SABOTAGE="raise")
    assert done.returncode == 2, f"the exit code is {done.returncode}"
    (sentence,) = said_by_matx(done)
    assert "rank 1: the victim's own sentence" in sentence, f"rank 0 does not say what is wrong: {sentence}"
    assert "ModelError" in (place / "run" / "log-rank1.txt").read_text(), "rank 1's log has no traceback"


def test_bad_input_is_one_sentence(place: Path) -> None:
    done = command(place, "run", "quick.gin", "-s", "Experiment.batch_size=3", "--processes", "2", "--out", "run")
    assert done.returncode == 2, f"the exit code is {done.returncode}"
    wanted = "Experiment.batch_size: got 3 for 2 processes"
    assert [wanted in line for line in said_by_matx(done)] == [True], f"not one sentence: {done.stderr}"
    assert not (place / "run").exists(), "a folder was begun"


def test_no_processes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "mat", "--processes", "0"]) == 2, "no processes were accepted"
    assert "--processes: got 0, allowed: 1 or more" in capsys.readouterr().err, "what is allowed is not said"


def pair(
    place: Path, port: int, *words: str, second: Path | None = None, timeout: int = 60
) -> list[subprocess.CompletedProcess[str]]:
    """`matx WORDS` as two ranks in the folder, the second perhaps with plug-ins of another."""
    base = {**os.environ, "PYTHONSAFEPATH": "1"}  # plug-ins are not taken from the working directory
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "matx", *words],
            cwd=place,
            env={**base, **environment(rank, 2, port), "MATX_TIMEOUT": str(timeout), "PYTHONPATH": str(plugins)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, plugins in enumerate((place, second or place))
    ]
    found = []
    for process in started:
        out, err = process.communicate(timeout=200)
        found.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return found


def test_ranks_that_see_other_files_are_refused(place: Path) -> None:
    other = place / "other"
    other.mkdir()
    (other / "saboteur.py").write_text(
        SABOTEUR.replace("threat: matx.ThreatModel", "threat: matx.ThreatModel\n    more: int = 3")
    )
    first, second = pair(place, free_port(), "run", "quick.gin", "--out", "run", second=other)
    assert (first.returncode, second.returncode) == (2, 2), f"exit codes {first.returncode}, {second.returncode}"
    assert "allowed: the same files, images and versions in every process" in first.stderr, f"rank 0: {first.stderr}"
    assert said_by_matx(second) == [], "rank 1 speaks too"
    assert not (place / "run").exists(), "a folder was begun"


def test_a_port_in_use_is_one_sentence(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first, second = pair(place, taken.getsockname()[1], "run", "quick.gin", "--out", "run", timeout=3)
    assert (first.returncode, second.returncode) == (2, 2), f"exit codes {first.returncode}, {second.returncode}"
    (sentence,) = said_by_matx(first)
    assert "cannot meet at 127.0.0.1" in sentence, f"the port is not named: {sentence}"
    assert "allowed: a port that is free" in sentence, f"what is allowed is not said: {sentence}"


def test_a_torch_without_nccl_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_nccl_available", lambda: False)
    with pytest.raises(RunError, match="this torch was built without NCCL, allowed: a torch with it, or --device cpu"):
        _backend("cuda")
    assert _backend("cpu") == "gloo", "CPUs need no NCCL"
