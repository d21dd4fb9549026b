"""Metrics that give what cannot be scored, and metrics that cannot be made: one sentence each, exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from isolation import isolated_plugins

from matx.cli import main
from matx.registration import REGISTRIES

PLUGIN = '''
"""A metric that gives what its option says."""
from dataclasses import dataclass
from typing import ClassVar
import torch
import matx
from matx.interfaces import Column, Figure

@matx.metrics.register("faulty")
@dataclass(frozen=True, kw_only=True)
class Faulty:
    """Random answers."""
    fault: str
    table: ClassVar[str] = ""

    def measure(self, models, batch, settings):
        values = torch.zeros(len(batch.labels), dtype=torch.bool)
        if self.fault == "length":
            values = values[1:]
        if self.fault == "type":
            values = values.long()
        if self.fault == "list":
            values = values.tolist()
        name = f"of {len(values)}" if self.fault == "columns" else "mine"
        return {Column(model, name): values for model in models}

    def summarise(self, columns):
        value = float("nan") if self.fault == "number" else 0.5
        figures = [Figure(column=column, n=3, value=value) for column in columns]
        return figures * 2 if self.fault == "twice" else figures

    @classmethod
    def examples(cls, tmp_path):
        return [cls(fault="")]
'''
MODEL = """
from torch import nn

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
"""
METRIC = """import faulty
include 'base/threat/stand_in.gin'
Evaluation.metrics = [@metrics.faulty()]
metrics.faulty.fault = '{fault}'
"""
COMMAND = ["eval", "--model", "models.py:build", "--dataset", "x.npz", "--device", "cpu", "--no-sanity", "--out", "a"]
COMMAND += ["-s", "Evaluation.batch_size=4", "-s", "attacks.pgd.steps=1", "-s", "attacks.pgd.restarts=1"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Six images, a model and the plug-in; what it registers is taken back."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    np.savez("x.npz", x_train=images, y_train=np.arange(6) % 3, x_test=images, y_test=np.arange(6) % 3)
    Path("models.py").write_text(MODEL)
    Path("faulty.py").write_text(PLUGIN)
    with isolated_plugins():
        yield tmp_path


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("length", "metrics.faulty: got 'mine' of 'build' of shape (3,), allowed: (4,), one value a sample"),
        ("type", "metrics.faulty: got 'mine' of 'build' as torch.int64, allowed: a tensor of bool or floating values"),
        ("list", "metrics.faulty: got 'mine' of 'build' as list, allowed: a tensor of bool or floating values"),
        ("columns", "metrics.faulty: got other columns for one batch than for another, allowed: the same"),
        ("twice", "metrics.faulty: got 'mine' of 'build' twice, allowed: each column once"),
        ("number", "metrics.faulty: got 'mine' of 'build' as nan, allowed: finite figures and intervals"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(fault: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.gin").write_text(METRIC.format(fault=fault))
    assert main([*COMMAND, "--metric", "mine.gin"]) == 2, "a faulty metric ends with exit code 2"
    shown = " ".join(capsys.readouterr().err.split())
    assert sentence in shown, f"the sentence names the matter: {shown}"
    assert "Traceback" not in shown, "a traceback is shown"
    assert not Path("a/results.json").exists(), "half an evaluation was written as results"


def test_a_gin_file_gives_options(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.gin").write_text(METRIC.format(fault="none"))
    assert main([*COMMAND, "--metric", "mine.gin"]) == 0, f"a sound metric ends well: {capsys.readouterr().err}"
    assert "mine" in capsys.readouterr().out, "its column is not shown"


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("calibratoin", "metrics.calibratoin is not registered; did you mean 'calibration'?"),
        ("faulty", "--metric faulty: got no fault, allowed: a gin file that says metrics.faulty.fault"),
        ("nowhere.gin", "nowhere.gin"),
    ],
)
def test_metrics_that_cannot_be_made(metric: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--plugin", "faulty.py", "--metric", metric]) == 2, "it is refused with exit code 2"
    shown = " ".join(capsys.readouterr().err.split())
    assert sentence in shown, f"the sentence names the matter: {shown}"
    assert "Traceback" not in shown, "a traceback is shown"


def test_every_metric_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    names = [name for name in REGISTRIES["metrics"] if name not in ("transfer", "agreement")]
    chosen = [word for name in names for word in ("--metric", name)]
    assert main([*COMMAND, *chosen, "-s", "Evaluation.images=4"]) == 0, f"they end well: {capsys.readouterr().err}"
    shown = capsys.readouterr().out
    for words in ("Calibration", "common corruptions", "Margin", "median l1", "Brier clean"):
        assert words in shown, f"the tables have no {words!r}"
