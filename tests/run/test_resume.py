"""Exact resume: whatever stops a run, it ends as the run that was never stopped."""

from __future__ import annotations

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
from sample_runs import Judged, Watched, sample

from matx.errors import CheckpointError
from matx.interfaces import AttackInput
from matx.report import without_clock
from matx.run import resume, run
from matx.runtime import checkpoint
from matx.runtime.folder import RunFolder, open_folder
from matx.runtime.interrupt import Interrupted


class PowerCut(BaseException):
    """Ends a run without any chance to clean up but Python's own."""


@pytest.fixture
def fates(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what happens in training and validation, and in the final evaluation."""

    def choose(
        train: Callable[[AttackInput], None] | None = None, test: Callable[[AttackInput], None] | None = None
    ) -> None:
        monkeypatch.undo()
        if train is not None:
            monkeypatch.setattr(Watched, "FATE", staticmethod(train))
            monkeypatch.setattr(Judged, "FATE", staticmethod(lambda given: None))
        if test is not None:
            monkeypatch.setattr(Judged, "FATE", staticmethod(test))

    return choose


def assert_equal_runs(found: RunFolder, wanted: RunFolder) -> None:
    pages = [without_clock((folder.path / "report.html").read_text(encoding="utf-8")) for folder in (found, wanted)]
    assert pages[0] == pages[1], "but for the clock, the page of the stopped and resumed run is the straight run's"
    for name in ("results.json", "flags.npz", "metrics.jsonl", "report.md", "config.gin"):
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


def test_killed_in_mid_epoch(tmp_path: Path, straight: RunFolder) -> None:
    script = (
        "from sample_runs import *; from matx.run import run; from pathlib import Path\n"
        "Watched.FATE = staticmethod(kill_at(7)); Judged.FATE = staticmethod(nothing)\n"
        f"run(sample(checkpoint_every=3), out=Path({str(tmp_path / 'run')!r}), device='cpu')"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
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
    def cut(given: AttackInput) -> None:
        evaluating = given.progress == 1.0 and given.step == 0
        if {"first step": given.step == 0, "mid-epoch": given.step == 2, "validation": evaluating}.get(when, True):
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
    def press(given: AttackInput) -> None:
        if given.step == 6:
            monkey.append(given.step)
            if len(monkey) == 1:
                signal.raise_signal(signal.SIGINT)

    monkey: list[int] = []
    fates(train=press)
    with pytest.raises(Interrupted) as stopped:
        run(sample(), out=tmp_path / "run", device="cpu")
    folder = RunFolder(tmp_path / "run")
    assert str(stopped.value) == f"continue with: matx run --resume {folder.path}", "it does not say how to continue"
    assert checkpoint.load(folder.last).training["position"] == [1, 3], "the step at hand was finished and saved"
    fates()
    resume(folder.path, loaded=sample(checkpoint_every=3))
    assert_equal_runs(folder, straight)


def test_checkpoint_every_changes_no_result(tmp_path: Path, straight: RunFolder) -> None:
    assert_equal_runs(run(sample(checkpoint_every=1), out=tmp_path / "run", device="cpu"), straight)


def test_resume_cuts_what_the_checkpoint_does_not_know(
    tmp_path: Path, straight: RunFolder, fates: Callable[..., None]
) -> None:
    def cut(given: AttackInput) -> None:
        if given.step == 11:
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
    checkpoint.save(tmp_path / "run" / "checkpoints" / "last.pt", replace(stored, images={"train": "x", "val": "y"}))
    with pytest.raises(CheckpointError, match="the images are not those of the start"):
        resume(tmp_path / "run", loaded=sample(epochs=1))
    checkpoint.save(tmp_path / "run" / "checkpoints" / "last.pt", stored)
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert list(before) == list(after), "a refusal leaves no file behind"
    assert all(after[path] == before[path] for path in before if path.suffix != ".pt"), "a refusal changes no file"


def stop(given: AttackInput) -> None:
    raise PowerCut


def test_a_changed_provenance_is_named(
    tmp_path: Path, fates: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    fates(test=stop)
    with pytest.raises(PowerCut):
        run(sample(epochs=1), out=tmp_path / "run", device="cpu")
    fates()
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    stored = checkpoint.load(last)
    threads = torch.get_num_threads()
    checkpoint.save(last, replace(stored, provenance={**stored.provenance, "threads": threads + 1, "torch": "0"}))
    seen: set[int] = set()
    fates(test=lambda given: seen.add(torch.get_num_threads()))
    with caplog.at_level("WARNING", logger="matx"):
        resume(tmp_path / "run", loaded=sample(epochs=1))
    assert seen == {threads + 1}, "the thread count of the start is restored"
    assert torch.get_num_threads() == threads, "and afterwards the process has its own again"
    assert "torch: 0 -> " in caplog.text, "what cannot be restored is said"
    assert "threads" not in caplog.text, "what was restored is not complained of"
