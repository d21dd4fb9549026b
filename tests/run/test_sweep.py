"""A queue of runs over recipes and seeds: it continues where it stopped, and a failing run harms no other."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_runs import QUICK
from sample_scores import sample_results

from matx.cli import main
from matx.errors import OptionError, RunError
from matx.results import write_results
from matx.run import sweep

TINY = QUICK.replace("Experiment.epochs = 2", "Experiment.epochs = 1").replace("train_limit = 150", "train_limit = 50")


def pretend(task: sweep.Planned, tell: Callable[[Any], Any]) -> str:
    """In place of a run: seed 1 fails, seed 2 takes its process with it, every other one leaves figures behind."""
    seed = int(task.bindings[-1].partition("=")[2])
    with Path("began").open("a") as file:
        file.write(f"{seed}\n")
    if seed == 1:
        raise RunError("loss: not finite")
    if seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    task.folder.mkdir(parents=True)
    write_results(task.folder / "results.json", sample_results())
    return str(task.folder)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a small recipe in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.gin").write_text(TINY)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-4", (0, 1, 2, 3, 4)), ("7", (7,)), ("0-2,7", (0, 1, 2, 7)), ("3, 1", (3, 1))]
)
def test_seeds_are_read(text: str, seeds: tuple[int, ...]) -> None:
    assert sweep.parse_seeds(text) == seeds, f"{text} are these seeds"


@pytest.mark.parametrize("text", ["", "a", "4-0", "1-", "-1", "0-2,1", "1.5"])
def test_other_texts_are_no_seeds(text: str) -> None:
    with pytest.raises(OptionError, match="--seeds: got"):
        sweep.parse_seeds(text)


def test_failures_are_listed_and_finished_runs_are_skipped(home: Path) -> None:
    planned = sweep.plan(["tiny.gin"], [], range(5))
    assert [one.folder for one in planned] == [Path(f"runs/tiny-seed{seed}") for seed in range(5)], "one folder a seed"
    swept = sweep.sweep(planned, jobs=1, work=pretend)
    assert [path.name for path in swept.finished] == ["tiny-seed0", "tiny-seed3", "tiny-seed4"], "the others went on"
    assert swept.failed[Path("runs/tiny-seed1")] == "loss: not finite", "a failing run is listed with its reason"
    assert "SIGKILL" in swept.failed[Path("runs/tiny-seed2")], "and so is one whose process was killed"
    sweep.sweep(planned, jobs=1, work=pretend)
    assert (home / "began").read_text().split() == ["0", "1", "2", "3", "4", "1", "2"], (
        "only what is unfinished is begun"
    )


def test_real_runs_end_in_one_table_and_are_not_run_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "other.gin").write_text(TINY.replace("steps = 2", "steps = 1"))
    command = ["run", "tiny.gin", "other.gin", "--seeds", "0-1", "--jobs", "1", "--out", "sweep"]
    assert main(command) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    assert sorted(path.name for path in (home / "sweep").iterdir()) == [
        "other-seed0",
        "other-seed1",
        "tiny-seed0",
        "tiny-seed1",
    ], "recipes by seeds"
    assert "tiny" in said.out, "the table names the first recipe"
    assert "other" in said.out, "and the second"
    stamps = {path: path.stat().st_mtime_ns for path in (home / "sweep").rglob("results.json")}
    assert main(command) == 0, "the same command again"
    assert "4 of 4 runs are finished already" in capsys.readouterr().err, "has nothing left to do"
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "and touches nothing"

    assert main([*command, "-s", "Experiment.batch_size=10"]) == 2, "another experiment is not mixed in"
    assert "batch_size" in capsys.readouterr().err, "the sentence shows what differs"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "4-0"], "--seeds: got '4-0'"),
        (["--seeds", "0-1", "--seed", "3"], "leave --resume, --dry-run and --seed away"),
        (["--jobs", "2"], "belongs to a queue of --seeds"),
        (["--seeds", "0-1", "--jobs", "0"], "--jobs: got 0"),
        (["--seeds", "0-1", "-s", "Experiment.epochs='x'"], "Experiment.epochs"),
    ],
)
def test_bad_queues_are_refused_before_anything_is_run(
    home: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "tiny.gin", *arguments]) == 2, "bad input is exit code 2"
    assert said in capsys.readouterr().err, "with a sentence"
    assert not (home / "runs").exists(), "nothing was begun"


def test_two_recipes_of_one_name_are_refused(home: Path) -> None:
    (home / "more").mkdir()
    (home / "more" / "tiny.gin").write_text(TINY)
    with pytest.raises(RunError, match="would both run as tiny"):
        sweep.plan(["tiny.gin", "more/tiny.gin"], [], [0])
