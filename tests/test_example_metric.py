"""One more metric is one file: the plug-in's column is in every table, file and comparison with no other edit."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from isolation import isolated_plugins
from scored import scores

from matx import metrics
from matx.cli import main
from matx.data import MemorySplit
from matx.errors import OptionError
from matx.interfaces import Column
from matx.measure import EvaluationSettings, measure
from matx.plugins import load_plugin
from matx.results import read_flags
from matx.testing import check
from matx.testing.trial import standard_trial

EXAMPLES = Path(__file__).parents[1] / "examples"
PLUGIN, RECIPE = EXAMPLES / "my_metric.py", EXAMPLES / "my_metric.gin"


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    with isolated_plugins():
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of the recipe that differ in their training."""
    folder = tmp_path_factory.mktemp("metric")
    with isolated_plugins():
        for name, epochs in (("short", 1), ("long", 3)):
            command = ["run", str(RECIPE), "--out", str(folder / name), "--device", "cpu", "-q"]
            assert main([*command, "-s", f"Experiment.epochs={epochs}"]) == 0, f"the run {name} failed"
    return folder / "short", folder / "long"


def test_it_keeps_every_contract() -> None:
    load_plugin(PLUGIN)
    failures = [outcome for outcome in check("metrics", "top_k") if not outcome.passed]
    assert not failures, f"the example breaks its promises: {failures}"


def test_it_counts_labels_among_the_first_k() -> None:
    load_plugin(PLUGIN)
    trial = standard_trial(count=24)
    split = MemorySplit(trial.images, (trial.labels + 1) % 5, trial.indices)
    with torch.no_grad():
        order = trial.module(split.images).argsort(1, descending=True)
    for k in (1, 2, 5):
        found = measure({"a": trial.module}, split, EvaluationSettings(metrics=[metrics["top_k"](k=k)]))
        expected = (order[:, :k] == split.labels[:, None]).any(1)
        column = found.columns["top_k"][Column("a", f"top-{k}")]
        assert torch.equal(column, expected), f"not whether the label is among the first {k}"
        (figure,) = found.figures["top_k"]
        assert (figure.correct, figure.n) == (int(expected.sum()), 24), f"top-{k} is miscounted"
    with pytest.raises(OptionError, match=r"metrics\.top_k\.k: got 0, allowed: 1 or more"):
        metrics["top_k"](k=0)


def test_it_is_in_the_files_and_reports_of_a_run(runs: tuple[Path, Path]) -> None:
    run, _ = runs
    results = json.loads((run / "results.json").read_text())
    rows = [row for row in results["scores"] if row["metric"] == "top_k"]
    assert {row["column"] for row in rows} == {"top-3"}, "results.json has no column of the plug-in"
    found = scores(run)
    assert found["a", "top-3"].value >= found["a", "clean"].value, "top-3 accuracy is below top-1"
    used = [entry for entry in results["how"]["metrics"] if entry["name"] == "top_k"]
    assert used == [{"name": "top_k", "table": "", "options": {"k": 3}}], "results.json does not say how it was made"
    flags = {column.column: values for column, values in read_flags(run).items() if column.metric == "top_k"}
    assert flags["top-3"].sum() == found["a", "top-3"].correct, "the values of each image are not kept"
    assert "top-3" in (run / "report.md").read_text(), "report.md has no column of the plug-in"
    assert "top-3" in html.unescape((run / "report.html").read_text()), "report.html has no column of the plug-in"


def test_it_is_in_the_tables_of_the_terminal(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["eval", str(runs[0]), "--plugin", str(PLUGIN), "--no-sanity", "--device", "cpu", "--metric", "top_k"]
    bindings = ["-s", "Evaluation.metrics=[@metrics.clean()]"]
    assert main([*command, *bindings, "--out", str(runs[0].parent / "again")]) == 0, "the evaluation failed"
    assert "top-2" in capsys.readouterr().out, "the terminal has no column of the plug-in"
    assert main(["show", str(runs[0]), "--plugin", str(PLUGIN)]) == 0, "the run is not shown"
    assert "top_k" in capsys.readouterr().out, "the run's experiment does not name the plug-in"


def test_it_is_compared(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, runs)]) == 0, "the runs are not compared"
    assert "top-3" in capsys.readouterr().out, "the comparison has no column of the plug-in"
    assert main(["compare", *map(str, runs), "--json"]) == 0, "the runs are not compared as JSON"
    text = capsys.readouterr().out
    assert "top-3" in text, "the comparison as JSON has no column of the plug-in"
    json.loads(text)
