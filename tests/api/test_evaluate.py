"""`matx.evaluate` gives what `matx eval` gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import matx
from matx.errors import DataError, ModelError, OptionError

MODEL = '''
"""A network that is not trained."""
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))
'''


def test_scores_equal_the_command_lines(tmp_path: Path) -> None:
    (tmp_path / "untrained.py").write_text(MODEL, encoding="utf-8")
    suite = tmp_path / "quick.gin"
    suite.write_text("include 'suites/pgd.gin'\nattacks.pgd.steps = 10\n", encoding="utf-8")
    images, labels = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8)).astype(np.uint8), np.arange(60) % 4
    pixels = images.transpose(0, 2, 3, 1)
    np.savez(tmp_path / "data.npz", x_train=pixels, y_train=labels, x_test=pixels[:30], y_test=labels[:30])
    command = [
        *(sys.executable, "-m", "matx", "eval", "--model", "untrained.py:build", "--dataset", "data.npz"),
        *("--threat", "linf:0.02", "--suite", str(suite), "--json", "--device", "cpu"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)["results"]["scores"]
    namespace: dict[str, object] = {}
    exec(MODEL, namespace)
    model = namespace["build"]()  # type: ignore[operator]
    ours = matx.evaluate(
        model, (torch.from_numpy(images[:30]), torch.from_numpy(labels[:30])), suite=str(suite), threats=["linf:0.02"]
    )
    for mine, row in zip([score.row() for score in ours.scores], theirs, strict=True):
        assert {**mine, "model": "build"} == row, f"{mine} in Python, {row} on the command line"
    assert all(row["sanity"] != "not checked" for row in theirs if row["metric"] == "robust"), "verdicts are compared"


def test_errors_are_sentences() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    pair = torch.rand(8, 1, 8, 8), torch.arange(8) % 4
    with pytest.raises(OptionError, match="sanity: got thorough, allowed: "):
        matx.evaluate(model, pair, sanity="thorough")
    with pytest.raises(DataError, match="allowed: "):
        matx.evaluate(model, (pair[0][0], pair[1]))
    with pytest.raises(ModelError, match="got 4 classes, allowed: at least 8"):
        matx.evaluate(model, (pair[0], torch.arange(8)), threats=["linf:0.1"])
