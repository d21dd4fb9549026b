"""Files that are empty, cut or flipped, and sources that are gone: named, and the run is finished all the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from matx.cli import main
from matx.errors import FormError, RunError
from matx.results import read_results
from matx.run import resume, run
from matx.runtime import checkpoint
from matx.runtime.files import write_npz
from matx.runtime.folder import RunFolder
from matx.tune.final import read_final
from matx.tune.study_folder import StudyFolder
from tests.run.test_resume import assert_equal_runs
from tests.sample_runs import sample


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    at = content.index(b'"correct": ') + len(b'"correct": ')
    return content[:at] + (b"1" if content[at : at + 1] != b"1" else b"2") + content[at + 1 :]


@pytest.mark.parametrize("damage", [half, flipped, lambda content: b"", lambda content: b"[1, 2]"])
def test_a_run_whose_results_are_damaged_is_finished_again(
    tmp_path: Path, straight: RunFolder, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(shutil.copytree(straight.path, tmp_path / "run"))
    folder.results.write_bytes(damage(folder.results.read_bytes()))
    with caplog.at_level("WARNING", logger="matx"):
        resume(folder.path, loaded=sample(checkpoint_every=3))
    assert str(folder.results) in caplog.text, f"the damaged file is not named: {caplog.text}"
    assert read_results(folder.results) == read_results(straight.results), "the results are not those of before"


def test_a_run_whose_flags_are_damaged_is_finished_again(
    tmp_path: Path, straight: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(shutil.copytree(straight.path, tmp_path / "run"))
    folder.flags.write_bytes(half(folder.flags.read_bytes()))
    with caplog.at_level("WARNING", logger="matx"):
        resume(folder.path, loaded=sample(checkpoint_every=3))
    assert str(folder.flags) in caplog.text, f"the damaged file is not named: {caplog.text}"
    assert_equal_runs(folder, straight)


@pytest.mark.parametrize("name", ["results.json", "flags.npz"])
def test_files_of_another_version_are_not_written_over(tmp_path: Path, straight: RunFolder, name: str) -> None:
    folder = RunFolder(shutil.copytree(straight.path, tmp_path / "run"))
    if name == "results.json":
        folder.results.write_text('{"schema": 7, "all": "otherwise"}')
    else:
        write_npz(folder.flags, {"schema": np.array(7)})
    before = (folder.path / name).read_bytes()
    with pytest.raises(
        FormError, match=rf"{name}: got (results|flags) of schema 7, allowed: 1 or 2; .* another folder"
    ):
        resume(folder.path, loaded=sample(checkpoint_every=3))
    assert (folder.path / name).read_bytes() == before, "what a newer version wrote is lost"


def test_an_evaluation_falls_back_on_the_checkpoint_before_the_last(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(shutil.copytree(finished, tmp_path / "run"))
    folder.last.write_bytes(half(folder.last.read_bytes()))
    words = ["eval", str(folder.path), "--checkpoint", "last", "--no-sanity", "--out", str(tmp_path / "eval")]
    assert main(words) == 0, capsys.readouterr().err
    said = " ".join(capsys.readouterr().err.split())
    assert "the checkpoint before it is used, which holds the state after epoch 1" in said, f"it says: {said}"
    assert read_results(tmp_path / "eval").epochs["last"] == 1, "the figures are said to be another epoch's"
    assert folder.previous.is_file(), "an evaluation moves the run's checkpoints"


def test_a_run_goes_on_when_what_its_weights_came_from_is_gone(tmp_path: Path, straight: RunFolder) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(straight.path, teacher)
    plain = sample(epochs=1).experiment
    one = replace(plain.peers["one"], weights=str(teacher), frozen=True, ema=None, attacks=(), optimizer=None)
    loaded = sample(epochs=1, peers={"one": one, "two": plain.peers["two"]})
    whole = run(loaded, out=tmp_path / "whole", device="cpu")
    folder = run(loaded, out=tmp_path / "run", device="cpu")
    for name in ("results.json", "flags.npz"):
        (folder.path / name).unlink()
    shutil.rmtree(teacher)
    resume(folder.path, loaded=loaded)
    weights = [checkpoint.load(each.last).training["learners"]["one"]["module"] for each in (folder, whole)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items()), "the weights are others"
    assert read_results(folder.results) == read_results(whole.results), "the figures are others"


def test_relative_paths_are_found_from_another_directory(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    arrays = {"x_train": draw.integers(0, 256, (60, 8, 8, 1), np.uint8), "y_train": np.arange(60) % 3}
    arrays |= {"x_test": draw.integers(0, 256, (30, 8, 8, 1), np.uint8), "y_test": np.arange(30) % 3}
    np.savez(home / "data.npz", **arrays)
    data = ["-s", "Experiment.dataset=@datasets.npz()", "-s", "datasets.npz.path='data.npz'"]
    assert main(["run", "quick.gin", *data, "--out", "run", "--device", "cpu"]) == 0, capsys.readouterr().err
    (home / "run" / "results.json").unlink()
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    assert main(["run", "--resume", "../run"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        ("Experiment.train_limit=1", "Experiment.train_limit: got 1, allowed: 2 or more"),
        (
            "Experiment.batch_size=1",
            "Experiment.batch_size: got 1, allowed: 2 or more, as the statistics of a batch",
        ),
        ("optimizers.sgd.lr=1e308", "optimizers.sgd.lr: got 1e+308 (too large for a 32-bit number), allowed"),
        ("Experiment.peers={1e999: @Peer()}", "got inf (too large for a number), allowed: a string"),
        (f"Peer.weights='{'a' * 300}'", "Peer.weights: got a name of 300 characters"),
        (f"datasets.npz.path='{'a' * 300}'", "cannot be read (File name too long)"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_check(
    home: Path, capsys: pytest.CaptureFixture[str], binding: str, said: str
) -> None:
    data = ["-s", "Experiment.dataset=@datasets.npz()"] if "npz" in binding else []
    assert main(["check", "quick.gin", "-s", binding, *data]) == 2, "it is called sound"
    assert said in capsys.readouterr().err.replace("\n", " "), "the sentence does not say what is wrong"


def test_a_name_of_300_characters_is_no_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{'a' * 300}.gin"]) == 2, "a name that no file can have is no defect"
    assert "got a name of 304 characters" in capsys.readouterr().err, "the sentence does not say what is wrong"
    assert main(["run", "quick.gin", "--out", "a" * 300]) == 2, "such a folder cannot be made"
    assert "File name too long" in capsys.readouterr().err, "the sentence does not say what is wrong"


def test_a_damaged_comparison_of_a_study_is_named(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.final.write_text('{"best": 1, "compar')
    with pytest.raises(RunError, match=r"final\.json: damaged"):
        read_final(folder)
