"""A run in Python: trained, loaded, its peers asked, its results equal to the command line's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import matx
from matx.errors import MatxError, OptionError, RunError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> matx.LoadedRun:
    return matx.run_experiment("smoke", out=tmp_path_factory.mktemp("api") / "run", device="cpu", progress=False)


def test_a_run_is_loaded(run: matx.LoadedRun) -> None:
    again = matx.load(run.path)
    assert again.peers == run.peers, "the peers are those of the run"
    assert again.results == run.results, "the results are those that the run returned"


def test_a_peer_answers_as_it_was_scored(run: matx.LoadedRun) -> None:
    name = run.peers[0]
    test = run.experiment.dataset().test
    results = run.results
    (score,) = [
        s for s in results.scores
        if (s.model, s.column, s.checkpoint) == (name, "clean", results.checkpoint_of("best"))
    ]  # fmt: skip
    rows = torch.arange(score.n)
    images, labels = test.read(rows).float() / (255 if test.read(rows).dtype == torch.uint8 else 1), test.labels[rows]
    model = run.peer(name)
    right = int((model(images).argmax(1) == labels).sum())
    assert right == score.correct, f"{right} right, where the results say {score.correct} of {score.n}"
    assert not model.training, "a loaded peer is in eval mode"


def test_adversarial_examples_of_a_run(run: matx.LoadedRun) -> None:
    name, threat = run.peers[0], next(iter(a.threat for a in run.experiment.evaluation.attacks))
    test = run.experiment.dataset().test
    images, labels = test.read(torch.arange(40)).float(), test.labels[:40]
    images = images / images.max().clamp_min(1)
    found = run.adversarial(name, images, labels, threat.key)
    assert threat.contains(found, images).all(), "every example is inside the threat model"
    model = run.peer(name)
    clean, robust = ((model(x).argmax(1) == labels).sum() for x in (images, found))
    assert robust < clean, f"{robust} robust of {clean} correct: the attack found something"


def test_errors_are_sentences(run: matx.LoadedRun, tmp_path: Path) -> None:
    images, labels = torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64)
    cases: list[tuple[object, type[MatxError], str]] = [
        (lambda: run.peer("nobody"), RunError, "got 'nobody', allowed: "),
        (lambda: run.peer(run.peers[0], checkpoint="first"), OptionError, "allowed: best, last"),
        (lambda: run.peer(run.peers[0], weights="mean"), OptionError, "weights: got 'mean', allowed: raw, ema"),
        (lambda: run.adversarial(run.peers[0], images, labels, "linf:0.77"), OptionError, "got linf:0.77, allowed: "),
        (lambda: matx.load(tmp_path / "none"), RunError, "no such run folder"),
    ]
    for call, kind, sentence in cases:
        with pytest.raises(kind, match=sentence):
            call()  # type: ignore[operator]
