"""A training whose validation score collapses says so while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sample_runs import Watched, sample

import matx
from matx import Evaluation
from matx.engine import EpochRecord, Training, fit
from matx.engine.validation import collapse_alarms
from matx.run import run
from matx.threat import ThreatModel
from tests.engine.world import LINF, mat, peer, pgd

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


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_peers_that_teach_in_eval_mode_collapse_with_an_alarm(launch: Callable[..., Training], mode: str) -> None:
    """Nine tenths of the weight on answers of one another at temperature 3, 20 % of the labels wrong."""
    one = peer(
        LINF,
        architecture=matx.architectures["tiny"](),
        attacks=[pgd(LINF, steps=3)],
        optimizer=matx.optimizers["sgd"](),
    )
    training = launch(
        mat(reading="answers_only", alpha=0.9, temperature=3.0), {"a": one, "b": one}, teacher_mode=mode, epochs=24,
        batch_size=30, train_limit=150, label_noise=0.2, seed=1,
        evaluation=Evaluation(validation_attacks=[pgd(LINF, steps=3)], validation_images=100, every=2),
    )  # fmt: skip
    epochs = [record for record in fit(training) if isinstance(record, EpochRecord) and record.score is not None]
    scores = [record.score or 0.0 for record in epochs]
    alarms = [alarm for record in epochs for alarm in record.alarms if SAID in alarm]
    assert max(scores) > 0.5, f"nothing was learned that could collapse: {scores}"
    if mode == "train":
        assert scores[-1] > 0.5, f"peers that teach in train mode collapsed: {scores}"
        assert not alarms, f"an alarm without a collapse: {scores}"
        return
    assert scores[-1] < 0.2, f"peers that teach in eval mode did not collapse: {scores}"
    assert alarms, f"a collapse without an alarm: {scores}"
    assert "teacher_mode 'train'" in alarms[0], f"the alarm does not name what helps: {alarms[0]}"


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
