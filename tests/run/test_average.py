"""Runs whose best epoch is chosen by averaged weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sample_runs import sample

from matx.config import Loaded
from matx.data import Subset
from matx.engine import EpochRecord, fit, start
from matx.errors import OptionError
from matx.evaluation import Selection, target_of_folder
from matx.measure import EvaluationSettings, flags_of
from matx.results import read_results
from matx.run import run
from matx.runtime import checkpoint


def averaged(decay: float = 0.9, **changes: object) -> Loaded:
    """The sample with an average on every peer, by which the best epoch is chosen."""
    plain = sample().experiment
    peers = {name: replace(peer, ema=decay) for name, peer in plain.peers.items()}
    return sample(peers=peers, evaluation=replace(plain.evaluation, select="average"), **changes)


def test_the_score_is_that_of_the_averages() -> None:
    training = start(averaged().experiment, averaged().experiment.dataset())
    record = [record for record in fit(training) if isinstance(record, EpochRecord)][-1]
    assert record.best_by == "ema", "the record does not say by which weights it was validated"
    assert training.data.val is not None, "there is a validation split"
    some = Subset(training.data.val, torch.arange(20))
    settings = EvaluationSettings(
        attacks=training.experiment.evaluation.validation_attacks, seed=0, purpose="validation", batch_size=256
    )
    found = {}
    for kind in ("module", "ema_module"):
        modules = {name: getattr(learner, kind) for name, learner in training.learners.items()}
        flags = flags_of(modules, some, settings, device=training.device)
        found[kind] = sum(one.rates()["union"].accuracy for one in flags.values()) / 2
    assert record.score == pytest.approx(found["ema_module"]), "the score is not that of the averages"
    assert found["module"] != pytest.approx(found["ema_module"]), "raw weights score the same, so this shows nothing"


def test_a_run_says_which_weights_it_followed_and_reports_both(tmp_path: Path) -> None:
    folder = run(averaged(), out=tmp_path / "run", device="cpu")
    found = read_results(folder.results)
    assert found.best_by == "ema", "results.json does not say which weights chose the best epoch"
    assert {score.weights for score in found.scores} == {"raw", "ema"}, "raw and averaged weights are not both reported"
    report = folder.results.with_name("report.md").read_text()
    assert "The best epoch was chosen by the averages of the weights (EMA)." in report, "the report does not say it"
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert {row["best_by"] for row in rows if row["kind"] == "epoch"} == {"ema"}, "metrics.jsonl does not say it"
    assert checkpoint.load(folder.best).training["best_by"] == "ema", "best.pt does not say it"
    later = target_of_folder(averaged(), "sample", folder, Selection(), "cpu")
    assert later.best_by == "ema", "a later evaluation does not say it"
    plain = run(sample(epochs=1), out=tmp_path / "plain", device="cpu")
    assert read_results(plain.results).best_by == "raw", "by default raw weights choose"


def test_averages_that_nobody_keeps_cannot_choose() -> None:
    with pytest.raises(
        OptionError, match=r"select: got 'average' for peer 'two', which keeps none, allowed: 'raw'; or"
    ):
        sample(evaluation=replace(sample().experiment.evaluation, select="average"))
