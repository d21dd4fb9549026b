"""Trials of several processes: one reports and decides, all stop together, and one that is lost ends the worker."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tune.conftest import RECIPE

from matx.config import load_experiment
from matx.distributed import following
from matx.errors import OptionError
from matx.tune.trial import Task, train
from matx.tune.tuning import Request, tune


def task(place: Path, **options: Any) -> Task:
    recipe = place / "recipe.gin"
    recipe.write_text(RECIPE)
    defaults = {"folder": str(place / "trial"), "epochs": 3, "train_limit": 60, "processes": 2}
    chosen = {**defaults, **options}
    return Task(recipe=str(recipe), bindings=(), objectives=("union", "loss"), device="cpu", **chosen)


def test_all_processes_stop_where_rank_0_is_told_to(tmp_path: Path) -> None:
    reports: list[dict[str, Any]] = []

    def report(message: dict[str, Any]) -> bool:
        reports.append(message)
        return len(reports) < 2

    found = train(task(tmp_path), report)
    assert [message["epoch"] for message in reports] == [1, 2], "an epoch is reported once, by one process"
    assert (found["epochs"], found["stopped"]) == (2, True), "the trial was not stopped after its second epoch"
    single = train(task(tmp_path, processes=1, epochs=1, folder=str(tmp_path / "single")), lambda _: True)
    assert reports[0]["values"] == pytest.approx(single["values"], abs=0.051), "the first epoch is another training"
    rows = (tmp_path / "trial" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1, 2], "another process wrote metrics, too"
    assert (tmp_path / "trial" / "log-rank1.txt").read_text() == "", "rank 1 did not end well"
    assert "WORLD_SIZE" not in os.environ, "the next trial would find this one's environment"


def test_a_lost_process_ends_the_worker_as_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the trial is tried again, as where the worker itself is killed."""
    others: list[subprocess.Popen[bytes]] = []
    real = following._started

    def kept(environment: dict[str, str], device: str) -> subprocess.Popen[bytes]:
        others.append(real(environment, device))
        return others[-1]

    def report(_: Any) -> bool:
        others[0].kill()
        return True

    monkeypatch.setattr(following, "_started", kept)
    monkeypatch.setenv("MATX_TIMEOUT", "60")
    with pytest.raises(SystemExit) as ended:
        train(task(tmp_path), report)
    assert ended.value.code == 1, "the worker does not end as a crashed one"
    assert "rank 1 of 2 was killed" in str(ended.value.__cause__), "the lost process is not named"


@pytest.mark.parametrize(
    ("bindings", "processes", "wanted"),
    [
        ((), 0, "--processes: got 0, allowed: 1 or more"),
        (("Experiment.batch_size=3",), 2, "Experiment.batch_size: got 3 for 2 processes that share it"),
        (("Experiment.placement='peers'",), 3, "Experiment.placement: got 'peers' for 3 processes and 2 peers"),
    ],
)
def test_processes_that_do_not_fit_are_refused(
    tmp_path: Path, bindings: tuple[str, ...], processes: int, wanted: str
) -> None:
    (tmp_path / "recipe.gin").write_text(RECIPE)
    loaded = load_experiment([tmp_path / "recipe.gin"], bindings)
    with pytest.raises(OptionError) as error:
        tune(loaded, Request(trials=2, folder=tmp_path / "study", processes=processes))
    assert wanted in str(error.value), f"not said: {error.value}"
    assert not (tmp_path / "study").exists(), "a study was begun"
