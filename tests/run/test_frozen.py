"""Runs with frozen teachers count what the teachers' own training took."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_runs import sample

import matx
from matx.compare import as_markdown, compare
from matx.config import Loaded, load_experiment
from matx.engine import start
from matx.results import read_results
from matx.run import resume, run
from matx.runtime import checkpoint
from matx.runtime.folder import RunFolder


def learning_from(weights: str, **changes: Any) -> Loaded:
    """Peer 'one' learns from the answers of peer 'two', which is frozen."""
    plain = sample().experiment
    peers = {"one": plain.peers["one"], "two": replace(plain.peers["two"], frozen=True, weights=weights)}
    strategy = matx.strategies["mat"](reading="answers_only", alpha=0.5)
    return sample(peers=peers, strategy=strategy, epochs=1, **changes)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(sample(), out=tmp_path_factory.mktemp("teacher") / "run", device="cpu")


def spent(folder: RunFolder) -> int:
    return sum(checkpoint.load(folder.last).training["passes"].values())


def test_the_report_counts_passes_with_and_without_the_teacher_s(tmp_path: Path, teacher: RunFolder) -> None:
    folder = run(learning_from(str(teacher.path)), out=tmp_path / "run", device="cpu")
    found = read_results(folder.results)
    seen = checkpoint.load(folder.last).training["seen"][0]
    own, both = sum(found.passes.values()), found.all_passes()
    assert own == pytest.approx(spent(folder) / seen), "own passes are not those of the run"
    assert both == pytest.approx((spent(folder) + spent(teacher)) / seen), "the teacher's whole training is not counted"
    report = folder.results.with_name("report.md").read_text()
    assert f"in all; with teachers {both:.1f}." in report, "the report does not show both"
    again = run(learning_from(str(folder.path) + ":one"), out=tmp_path / "again", device="cpu")
    expected = (spent(again) + spent(folder) + spent(teacher)) / seen
    assert read_results(again.results).all_passes() == pytest.approx(expected), "a teacher's teacher is not counted"
    plain_run = run(sample(epochs=1), out=tmp_path / "alone", device="cpu")
    assert read_results(plain_run.results).teacher_passes == {}, "a run without a frozen peer has no teachers' passes"
    shown = as_markdown(compare([folder.path, plain_run.path]))
    assert f"of its own, with teachers {both:g}" in shown, f"the comparison does not show both: {shown}"


def test_a_teacher_that_serves_twice_counts_once_and_plain_weights_are_unknown(
    tmp_path: Path, teacher: RunFolder
) -> None:
    loaded = learning_from(str(teacher.path))
    peers = loaded.experiment.peers
    more = replace(loaded.experiment, peers={**peers, "three": replace(peers["two"], weights=f"{teacher.path}:one")})
    count = start(more, more.dataset()).teacher_passes
    assert count is not None, "its passes are known"
    assert sum(vars(count).values()) == spent(teacher), "one run counts twice"
    weights = checkpoint.load(teacher.best).training["learners"]["two"]["module"]
    torch.save(weights, tmp_path / "plain.pt")
    folder = run(learning_from(str(tmp_path / "plain.pt")), out=tmp_path / "run", device="cpu")
    assert read_results(folder.results).all_passes() is None, "passes of plain weights are made up"
    assert "with teachers not known." in folder.results.with_name("report.md").read_text(), "it is not said"


def test_a_resumed_run_remembers_what_its_teacher_took(tmp_path: Path, teacher: RunFolder) -> None:
    moved = tmp_path / "teacher"
    shutil.copytree(teacher.path, moved)
    training = start(learning_from(str(moved)).experiment, sample().experiment.dataset())
    (moved / "checkpoints" / "last.pt").unlink()  # best.pt alone knows less
    later = start(learning_from(str(moved)).experiment, sample().experiment.dataset())
    later.load_state_dict(training.state_dict())
    assert later.teacher_passes == training.teacher_passes, "resuming counts a teacher anew"


def test_the_control_recipe_s_teacher_answers_as_mat_s_peer_does(tmp_path: Path) -> None:
    small = ["Experiment.epochs=1", "Evaluation.images=20", "Evaluation.validation_images=20"]
    by_itself = load_experiment(["at"], ["Experiment.peers={'b': @b/Peer()}", *small])
    folder = run(by_itself, out=tmp_path / "at_b", device="cpu")
    control = load_experiment(["mat_frozen"], [f"b/Peer.weights='{folder.path}'", *small]).experiment
    mutual = load_experiment(["mat"], small).experiment
    assert control.strategy == mutual.strategy, "the control has another loss"
    assert control.peers["a"] == mutual.peers["a"], "the control trains another peer"
    assert matx.experiment.teacher_mode(control, "b") == "train", "the frozen peer answers in another mode than mat's"
    trained = start(control, control.dataset()).learners["b"].module.state_dict()
    stored = checkpoint.load(folder.best).training["learners"]["b"]["module"]
    assert all(torch.equal(value, stored[key]) for key, value in trained.items()), "it is not the peer trained alone"
    assert resume(folder.path).finished, "the teacher's run is whole"
