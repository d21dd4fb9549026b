"""A training whose validation score collapses says so while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sample_runs import Watched, sample

import matx
from matx.engine import Training
from matx.engine.validation import collapse_alarms
from matx.run import run
from matx.threat import ThreatModel
from tests.engine.world import LINF, peer

SAID = "the training has collapsed"


@dataclass(frozen=True, kw_only=True)
class Exploding:
    """A learning rate that is far too high from the fifth epoch on."""

    def at(self, epoch: float, epochs: int) -> float:
        return 1.0 if epoch < 4 else 100.0


def test_a_real_collapse_is_in_record_log_and_terminal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    one = replace(
        sample().experiment.peers["two"], schedule=Exploding(), attacks=[], optimizer=matx.optimizers["sgd"]()
    )
    near = Watched(threat=ThreatModel(norm="linf", eps=0.01), steps=3)
    easy = replace(sample().experiment.evaluation, validation_images=100, validation_attacks=[near])
    loaded = sample(peers={"two": one}, epochs=7, train_limit=600, evaluation=easy)
    folder = run(loaded, out=tmp_path / "run", device="cpu")
    epochs = [row for row in map(json.loads, folder.metrics.read_text().splitlines()) if row["kind"] == "epoch"]
    scores = {row["epoch"]: row["score"] for row in epochs}
    alarmed = [row["epoch"] for row in epochs if any(SAID in alarm for alarm in row["alarms"])]
    best = max(scores.values())
    assert best > 0.3, f"nothing was learned that could collapse: {scores}"
    assert scores[5] < best / 2, f"the training did not collapse: {scores}"
    assert alarmed == [6, 7], f"alarms come in other epochs than from the second low validation on: {scores}"
    assert SAID in folder.log.read_text(), "the log does not say it"
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any(SAID in text and text.startswith("epoch 6:") for text in warned), (
        f"no warning reaches the terminal: {warned}"
    )


def test_the_rule(launch: Callable[..., Training]) -> None:
    training = launch(matx.strategies["independent"](), {"a": peer(LINF)})
    training.best = (3, 0.60)
    told = [bool(collapse_alarms(training, score)) for score in (0.29, 0.31, 0.29, 0.1, 0.2, 0.5, 0.1)]
    assert told == [False, False, False, True, True, False, False], "it does not take two in a row under half"
    training.best, training.collapsed = (3, 0.15), 0
    assert not any(collapse_alarms(training, 0.06) for _ in range(3)), "9 points are within the sampling error"
    again = launch(matx.strategies["independent"](), {"a": peer(LINF)})
    training.collapsed = 1
    again.load_state_dict(training.state_dict())
    assert again.collapsed == 1, "a resumed training counts anew"
