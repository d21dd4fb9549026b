"""The run folder and exact resume: whatever stops a run, it ends as the run that was never stopped."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from sample_runs import Judged, Watched, sample

from matx import checkpoint
from matx.errors import CheckpointError, OptionError, RunError
from matx.interfaces import Goal
from matx.run import Display, Interrupted, RunFolder, Scope, dry_run, open_folder, resume, run, score_folder

STEPS = 4
"""In an epoch of the sample experiment."""


class PowerCut(BaseException):
    """Ends a run without any chance to clean up but Python's own."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(sample(checkpoint_every=3), out=tmp_path_factory.mktemp("straight") / "run", device="cpu")


@pytest.fixture
def fates(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what happens in training and validation, and in the final evaluation."""

    def choose(train: Callable[[Goal], None] | None = None, test: Callable[[Goal], None] | None = None) -> None:
        monkeypatch.undo()
        if train is not None:
            monkeypatch.setattr(Watched, "FATE", staticmethod(train))
            monkeypatch.setattr(Judged, "FATE", staticmethod(lambda goal: None))
        if test is not None:
            monkeypatch.setattr(Judged, "FATE", staticmethod(test))

    return choose


def assert_equal_runs(found: RunFolder, wanted: RunFolder) -> None:
    for name in ("results.json", "flags.npz", "metrics.jsonl", "report.md", "report.html", "config.gin"):
        same = (found.path / name).read_bytes() == (wanted.path / name).read_bytes()
        assert same, f"{name} of the stopped and resumed run equals the straight run's byte for byte"
    for name in ("best.pt", "last.pt"):
        ours = checkpoint.load(found.path / "checkpoints" / name)
        theirs = checkpoint.load(wanted.path / "checkpoints" / name)
        assert_same(dict(ours.training), dict(theirs.training), name)


def assert_same(ours: Any, theirs: Any, where: str) -> None:
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), f"{where} is equal bit for bit"
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs), f"{where} has the same entries"
        for key in ours:
            assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), f"{where} has the same length"
        for position, pair in enumerate(zip(ours, theirs, strict=True)):
            assert_same(*pair, f"{where}[{position}]")
    else:
        assert ours == theirs, f"{where} is equal"


def test_the_folder_describes_the_run(straight: RunFolder) -> None:
    names = {path.name for path in straight.path.iterdir()}
    wanted = {"config.gin", "resolved.txt", "resolved.json", "environment.json", "metrics.jsonl", "tensorboard"}
    wanted |= {"checkpoints", "results.json", "report.md", "report.html", "timing.json", "log.txt", "flags.npz"}
    assert names == wanted, "the folder holds what is promised and nothing else"
    environment = json.loads(straight.environment.read_text())
    assert environment["seed"] == 0, "the seed is recorded"
    assert environment["torch"] == torch.__version__.partition("+")[0], "versions are recorded"
    assert set(environment["data"]) == {"train", "val"}, "the test split is not opened for fingerprints"
    assert environment["threads"] == torch.get_num_threads(), "the thread count is recorded"
    found = json.loads(straight.results.read_text())
    assert found["schema"] == 1, "results carry their schema"
    assert found["dataset"]["n"] == 30, "the test images that count are counted"
    assert set(found["peers"]) == {"one", "two"}, "every peer is scored"
    assert set(found["peers"]["one"]["threats"]) == {"linf:0.1"}, "threat keys are as written"
    assert set(found["passes"]) == {"forward", "backward_input", "backward_weights"}, "passes are counted"
    assert found["last"]["epoch"] == 3, "checkpoint last is reported beside best"


def test_wall_clock_is_in_timing_alone(straight: RunFolder) -> None:
    timing = json.loads(straight.timing.read_text())
    assert timing["seconds"]["training"] > 0, "training time is measured"
    assert timing["seconds"]["evaluation"] > 0, "evaluation time is measured"
    for path in (straight.results, straight.metrics, straight.environment, straight.path / "report.md"):
        assert "second" not in path.read_text(), f"{path.name} holds no wall-clock figure"


def test_metrics_hold_epochs_and_steps(straight: RunFolder) -> None:
    records = [json.loads(line) for line in straight.metrics.read_text().splitlines()]
    epochs = [record for record in records if record["kind"] == "epoch"]
    assert [record["epoch"] for record in epochs] == [1, 2, 3], "every epoch has its line"
    assert [record["step"] for record in records if record["kind"] == "step"] == [10], "every tenth step has its line"
    assert set(epochs[0]["train"]["one"]) >= {"loss", "accuracy"}, "terms are logged per peer"
    assert sum(record["best"] for record in epochs) >= 1, "some epoch is the best so far"


def test_tensorboard_holds_scalars_pictures_and_the_config(straight: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(straight.tensorboard))
    events.Reload()
    tags = events.Tags()
    assert {"epoch/one/loss", "validation/two/union", "validation/score", "lr/one"} <= set(tags["scalars"]), (
        "scalars per peer and term are there"
    )
    assert {"adversarial/one", "adversarial/two"} <= set(tags["images"]), "a gallery of each peer is there"
    assert any("config" in tag for tag in tags["tensors"]), "the configuration is there as text"
    image = events.Images("adversarial/one")[0]
    assert (image.width, image.height) == (8 * 66, 2 * 66), "eight clean images, enlarged, above eight adversarial ones"


def test_killed_in_mid_epoch(tmp_path: Path, straight: RunFolder) -> None:
    script = (
        "from sample_runs import *; from matx.run import run; from pathlib import Path\n"
        "Watched.FATE = staticmethod(kill_at(7)); Judged.FATE = staticmethod(nothing)\n"
        f"run(sample(checkpoint_every=3), out=Path({str(tmp_path / 'run')!r}), device='cpu')"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, f"the run was killed: {done.stderr}"
    folder = open_folder(tmp_path / "run")
    position = checkpoint.load(folder.last).training["position"]
    assert position == [1, 2], "the last checkpoint stands in the middle of an epoch (step 6 of 12)"
    resume(folder.path, loaded=sample(checkpoint_every=3))
    assert_equal_runs(folder, straight)


@pytest.mark.parametrize("when", ["first step", "mid-epoch", "validation", "evaluation"])
def test_a_power_cut_anywhere_is_made_good(
    tmp_path: Path, straight: RunFolder, fates: Callable[..., None], when: str
) -> None:
    def cut(goal: Goal) -> None:
        evaluating = goal.progress == 1.0 and goal.step == 0
        if {"first step": goal.step == 0, "mid-epoch": goal.step == 2, "validation": evaluating}.get(when, True):
            raise PowerCut

    fates(**{"test" if when == "evaluation" else "train": cut})
    with pytest.raises(PowerCut):
        run(sample(checkpoint_every=3), out=tmp_path / "run", device="cpu")
    folder = open_folder(tmp_path / "run")
    assert not folder.finished, "a stopped run does not pass for a finished one"
    fates()
    resume(folder.path, loaded=sample(checkpoint_every=3))
    assert_equal_runs(folder, straight)


def test_ctrl_c_saves_the_step_and_resumes(tmp_path: Path, straight: RunFolder, fates: Callable[..., None]) -> None:
    def press(goal: Goal) -> None:
        if goal.step == 6:
            monkey.append(goal.step)
            if len(monkey) == 1:
                os.kill(os.getpid(), signal.SIGINT)

    monkey: list[int] = []
    fates(train=press)
    with pytest.raises(Interrupted) as stopped:
        run(sample(), out=tmp_path / "run", device="cpu")
    folder = stopped.value.folder
    assert checkpoint.load(folder.last).training["position"] == [1, 3], "the step at hand was finished and saved"
    fates()
    resume(folder.path, loaded=sample(checkpoint_every=3))
    assert_equal_runs(folder, straight)


def test_checkpoint_every_changes_no_result(tmp_path: Path, straight: RunFolder) -> None:
    assert_equal_runs(run(sample(checkpoint_every=1), out=tmp_path / "run", device="cpu"), straight)


def test_resume_cuts_what_the_checkpoint_does_not_know(
    tmp_path: Path, straight: RunFolder, fates: Callable[..., None]
) -> None:
    def cut(goal: Goal) -> None:
        if goal.step == 11:
            raise PowerCut

    fates(train=cut)
    with pytest.raises(PowerCut):
        run(sample(), out=tmp_path / "run", device="cpu")
    folder = open_folder(tmp_path / "run")
    assert '"kind": "step"' in folder.metrics.read_text(), "step 10 was written after the checkpoint of epoch 2"
    fates()
    resume(folder.path, loaded=sample())
    assert_equal_runs(folder, straight)


def test_another_experiment_and_other_images_are_refused(tmp_path: Path, fates: Callable[..., None]) -> None:
    fates(test=stop)
    with pytest.raises(PowerCut):
        run(sample(epochs=1), out=tmp_path / "run", device="cpu")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match="batch_size: 50 -> 40"):
        resume(tmp_path / "run", loaded=sample(epochs=1, batch_size=40))
    stored = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")
    checkpoint.save(tmp_path / "run" / "checkpoints" / "last.pt", replace(stored, data={"train": "x", "val": "y"}))
    with pytest.raises(CheckpointError, match="the images are not those of the start"):
        resume(tmp_path / "run", loaded=sample(epochs=1))
    checkpoint.save(tmp_path / "run" / "checkpoints" / "last.pt", stored)
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert list(before) == list(after), "a refusal leaves no file behind"
    assert all(after[path] == before[path] for path in before if path.suffix != ".pt"), "a refusal changes no file"


def stop(goal: Goal) -> None:
    raise PowerCut


def test_other_circumstances_are_named(
    tmp_path: Path, fates: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    fates(test=stop)
    with pytest.raises(PowerCut):
        run(sample(epochs=1), out=tmp_path / "run", device="cpu")
    fates()
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    stored = checkpoint.load(last)
    threads = torch.get_num_threads()
    checkpoint.save(last, replace(stored, circumstances={**stored.circumstances, "threads": threads + 1, "torch": "0"}))
    try:
        with caplog.at_level("WARNING", logger="matx"):
            resume(tmp_path / "run", loaded=sample(epochs=1))
        assert torch.get_num_threads() == threads + 1, "the thread count of the start is restored"
    finally:
        torch.set_num_threads(threads)
    assert "torch: 0 -> " in caplog.text, "what cannot be restored is said"
    assert "threads" not in caplog.text, "what was restored is not complained of"


def test_a_finished_run_is_left_alone(straight: RunFolder) -> None:
    before = {path: path.stat().st_mtime_ns for path in straight.path.rglob("*")}
    shown = io.StringIO()
    resume(straight.path, loaded=sample(), display=Display(Console(file=shown)))
    assert "finished already" in shown.getvalue(), "a finished run says so"
    assert before == {path: path.stat().st_mtime_ns for path in straight.path.rglob("*")}, "nothing was touched"


def test_numbered_folders_and_an_existing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "sample-7").mkdir(parents=True)
    (tmp_path / "runs" / "sample-x").mkdir()
    first = run(sample(epochs=1), device="cpu")
    assert first.path == Path("runs/sample-8"), "the next number is taken, whatever gaps there are"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["sample-7", "sample-8", "sample-x"], (
        "nothing temporary is left beside the run"
    )
    for taken in (Path("runs/sample-7"), Path("runs/sample-8/config.gin")):
        with pytest.raises(RunError, match="exists already"):
            run(sample(), out=taken, device="cpu")
    assert not any((tmp_path / "runs" / "sample-7").iterdir()), "a refused folder stays as it was"


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"not a run folder: it holds no config\.gin"):
        open_folder(tmp_path)


def test_dry_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = dry_run(sample(), device="cpu")
    assert found.steps == 3 * STEPS, "it knows how many steps the run would take"
    assert set(found.losses) == {"one", "two"}, "one real step was taken by every peer"
    assert list(tmp_path.iterdir()) == [], "nothing was written"
    with pytest.raises(OptionError, match="allowed here: auto, cpu"):
        dry_run(sample(), device="quantum")


def test_scores_anew_equal_the_run(straight: RunFolder) -> None:
    found = score_folder(sample(), "sample", straight, Scope(), "cpu", Display())
    assert found == json.loads(straight.results.read_text()), "evaluating again gives the same results"
    one = score_folder(sample(), "sample", straight, Scope(checkpoints=("last",), peers=("two",)), "cpu", Display())
    assert one["peers"] == {"two": json.loads(straight.results.read_text())["last"]["peers"]["two"]}, (
        "one peer of one checkpoint has the figures that it had among all"
    )
    with pytest.raises(RunError, match="did you mean 'two'"):
        score_folder(sample(), "sample", straight, Scope(peers=("tow",)), "cpu", Display())
    with pytest.raises(CheckpointError, match="keeps no moving average"):
        score_folder(sample(), "sample", straight, Scope(weights=("ema",)), "cpu", Display())
    averaged = score_folder(sample(), "sample", straight, Scope(weights=("ema",), peers=("one",)), "cpu", Display())
    assert averaged["peers"]["one"]["clean"]["n"] == 30, "the moving average is scored where there is one"


def test_progress_with_time_left(tmp_path: Path) -> None:
    lines = io.StringIO()
    run(sample(epochs=2), out=tmp_path / "lines", device="cpu", display=Display(Console(file=lines, width=200)))
    assert "training, epoch 1/2  ETA 0:00:0" in lines.getvalue(), "each epoch has a line with the time left"
    assert "evaluating last, attack 2/2  ETA 0:00:00  two linf:0.1 Judged" in lines.getvalue(), (
        "each evaluation has its line"
    )
    bars = io.StringIO()
    terminal = Console(file=bars, force_terminal=True, width=200)
    run(sample(epochs=2), out=tmp_path / "bars", device="cpu", display=Display(terminal))
    assert "ETA" in bars.getvalue(), "on a terminal the bar shows the time left"
    assert "evaluating" in bars.getvalue(), "on a terminal the evaluation has its bar"
