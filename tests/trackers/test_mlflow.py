"""Runs of MLflow in a database of SQLite: a real run that was stopped and resumed, and stores that do not answer.

mlflow wants a newer `requests` than torchattacks allows, so it is no part of the extra `test`: `.ci/run` installs it
after the other tests, and runs these.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sample_runs import sample

import matx
from matx.interfaces import Scalars, TrackedRun
from matx.results import read_results
from matx.run import epochs, resume
from matx.runtime.folder import RunFolder
from matx.runtime.tracking import Trackers

pytestmark = pytest.mark.skipif(find_spec("mlflow") is None, reason="needs mlflow: pip install 'matx[mlflow]'")

OPENED = """
import sys
from pathlib import Path
import matx
from matx.interfaces import TrackedRun
import mlflow.store.tracking.sqlalchemy_store

tracker = matx.trackers["mlflow"](store=sys.argv[1])
print("ready", flush=True)
input()
tracker.open(TrackedRun(name="template", folder=Path(sys.argv[2]))).close(finished=True)
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that two processes have made at the same time, as a queue's first runs do; it takes seconds."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    tracker, mine = matx.trackers["mlflow"](store=str(file)), tmp_path_factory.mktemp("run")
    other = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", OPENED, str(file), str(tmp_path_factory.mktemp("run"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    _client_class()
    assert other.stdin is not None, "it waits for a line"
    assert other.stdout is not None, "its output is read"
    assert other.stdout.readline() == "ready\n", "the process is about to open the store"
    other.stdin.write("\n")
    other.stdin.flush()
    tracker.open(TrackedRun(name="template", folder=mine)).close(finished=True)
    _, said = other.communicate(timeout=300)
    assert other.returncode == 0, f"one of two processes that make a store fails: {said[-1000:]}"
    (experiment,) = _client(file).search_experiments(filter_string="name = 'template'")
    assert len(_client(file).search_runs([experiment.experiment_id])) == 2, "a run of the two is lost"
    return file


@pytest.fixture(scope="module")
def folder(template: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with two trackers that was stopped after its first epoch, and resumed."""
    home = tmp_path_factory.mktemp("tracked")
    shutil.copy(template, home / "mlflow.db")
    chosen = [matx.trackers["tensorboard"](), matx.trackers["mlflow"](store=str(home / "mlflow.db"))]
    loaded = sample(trackers=chosen, checkpoint_every=3)
    begun = epochs(loaded, out=home / "run", device="cpu")
    next(begun)
    del begun
    assert _client(home / "mlflow.db").get_run(_number(home / "run")).info.status == "KILLED", "a stopped run says so"
    return resume(home / "run", loaded=loaded, device="cpu")


def _client_class() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.tracking import MlflowClient

        return MlflowClient


def _client(store: Path) -> Any:
    return _client_class()(f"sqlite:///{store}")


def _number(folder: Path) -> str:
    return str(json.loads((folder / "mlflow.json").read_text())["run"])


def _history(folder: RunFolder, key: str) -> list[tuple[int, float]]:
    client, number = _client(folder.path.parent / "mlflow.db"), _number(folder.path)
    return [(metric.step, metric.value) for metric in client.get_metric_history(number, key)]


def _epochs(folder: RunFolder) -> list[dict[str, Any]]:
    rows = map(json.loads, folder.metrics.read_text().splitlines())
    return [row for row in rows if row["kind"] == "epoch"]


def test_a_resumed_run_goes_on_in_its_run_of_the_store(folder: RunFolder) -> None:
    client = _client(folder.path.parent / "mlflow.db")
    found = client.get_experiment_by_name("sample")
    (run,) = client.search_runs([found.experiment_id])
    assert (run.info.run_id, run.info.run_name) == (_number(folder.path), "run"), "there is another run"
    assert run.info.status == "FINISHED", "its end is not told"
    assert (folder.path / "tensorboard" / "one").is_dir(), "the other tracker wrote, too"


def test_each_figure_is_there_once(folder: RunFolder) -> None:
    rows = _epochs(folder)
    for peer in ("one", "two"):
        losses = [(row["steps"], row["train"][peer]["loss"]) for row in rows]
        assert _history(folder, f"{peer}/epoch/loss") == losses, f"the losses of {peer} are not those of the run"
    scores = [(row["steps"], row["score"]) for row in rows]
    assert _history(folder, "validation/score") == scores, "the scores are not those of the run"
    found = read_results(folder.path)
    place = ("one", "clean", found.checkpoint_of("best"), "raw")
    (clean,) = [it for it in found.scores if (it.model, it.column, it.checkpoint, it.weights) == place]
    assert _history(folder, "one/test/clean") == [(12, pytest.approx(clean.value))], "the test figure is another"


def test_pictures_tables_and_the_configuration_are_artifacts(folder: RunFolder) -> None:
    home = folder.path.parent / "mlartifacts" / "sample" / _number(folder.path) / "artifacts"
    pictures = sorted(file.name for file in (home / "one" / "adversarial").iterdir())
    assert pictures == ["00000004.png", "00000008.png", "00000012.png"], "a picture of each epoch"
    assert "built in Python" in (home / "config.md").read_text(), "the configuration is there"
    table = (home / "transfer" / "linf_0.1.md").read_text()
    assert table.startswith("| examples of | one | two |\n| --- | --- | --- |\n| one | "), f"who fools whom: {table}"


def test_peers_of_any_name_and_repeated_steps(template: Path, tmp_path: Path) -> None:
    tracker = matx.trackers["mlflow"](store=str(template), experiment="named")
    run = TrackedRun(name="a", folder=tmp_path, settings={"strategy": "mat", "strategy.alpha": 0.5})
    for steps, told in ((0, (10, 20, 30)), (20, (30, 40))):
        live = tracker.open(TrackedRun(name="a", folder=tmp_path, steps=steps, settings=run.settings))
        for step in told:
            live.write(Scalars(group="test", values={"été_1": {"linf:8/255 (8-bit)": step / 100}}, step=step))
        live.close(finished=False)
    client = _client(template)
    history = client.get_metric_history(_number(tmp_path), "été_1/test/linf_8/255 _8-bit_")
    assert [(one.step, one.value) for one in history] == [(10, 0.1), (20, 0.2), (30, 0.3), (40, 0.4)], "each once"
    assert client.get_run(_number(tmp_path)).data.params == {"strategy": "mat", "strategy.alpha": "0.5"}, "settings"
    assert tracker.where(tmp_path) == f"sqlite:///{template}, run {_number(tmp_path)}", "where to look"


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.mark.parametrize("store", ["missing/mlflow.db", "text.db", "http"])
def test_a_store_that_cannot_be_written_is_switched_off_at_once(
    store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    place = f"http://127.0.0.1:{_closed_port()}" if store == "http" else str(tmp_path / store)
    began = time.monotonic()
    chosen: Sequence[Any] = [matx.trackers["mlflow"](store=place, timeout=2)]
    trackers = Trackers(chosen, TrackedRun(name="a", folder=tmp_path))
    trackers.tell(Scalars(group="lr", values={"one": {"": 0.1}}, step=10))
    trackers.close(finished=True)
    assert time.monotonic() - began < 60, "a run waits for a store that is not there"
    (said,) = [record.getMessage() for record in caplog.records if record.name == "matx.run"]
    assert said.startswith("trackers.mlflow is switched off, and the run goes on"), "what happened, what it means"
    assert place.removeprefix("http://").partition(":")[0] in said, "the store is not named"
