"""Which epochs are validated: every so many from the first that may be, and the last."""

from __future__ import annotations

import pytest

from matx.engine import EpochRecord
from matx.experiment import Evaluation
from tests.engine.world import LINF, Launch, independent, peer, pgd, run


@pytest.mark.parametrize(
    ("options", "epochs", "expected"),
    [
        ({}, 4, [1, 2, 3, 4]),
        ({"every": 3}, 7, [3, 6, 7]),
        ({"first": 3}, 5, [3, 4, 5]),
        ({"first": 4, "every": 3}, 10, [6, 9, 10]),
        ({"first": 9}, 3, [3]),
    ],
)
def test_epochs_that_end_in_a_validation(options: dict[str, int], epochs: int, expected: list[int]) -> None:
    evaluation = Evaluation(**options)
    due = [epoch for epoch in range(1, epochs + 1) if evaluation.due(epoch, epochs)]
    assert due == expected, f"{options} of {epochs} epochs"


def test_no_epoch_before_the_first_is_the_best(launch: Launch) -> None:
    evaluation = Evaluation(validation_attacks=[pgd(LINF)], first=2)
    training = launch(independent(), {"a": peer(LINF)}, epochs=3, evaluation=evaluation)
    records = [record for record in run(training) if isinstance(record, EpochRecord)]
    assert [record.score is None for record in records] == [True, False, False], "epoch 1 was validated"
    assert training.best is not None, "no epoch is the best"
    assert training.best[0] >= 2, f"epoch {training.best[0]} is the best, which was not validated"
