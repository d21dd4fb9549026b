"""`matx doctor` says what is there, and what is not."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from matx import __version__
from matx.cli import main
from matx.registration import REGISTRIES


def test_doctor_says_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["doctor", "--json"]) == 0, "it works in any folder"
    found = json.loads(capsys.readouterr().out)
    assert f"torch {version('torch')}" in found["versions"], "versions are told"
    assert __version__ in found["versions"], "also its own"
    assert found["devices"].startswith("cpu ("), "the CPU is a device"
    assert f"{sum(map(len, REGISTRIES.values()))} components" in found["plug-ins"], "all components are counted"
    assert "; tensorboard is ready; wandb is ready" in found["trackers"], "trackers that can work are told"
    assert found["trackers"].startswith(("mlflow is ready", "mlflow needs the package mlflow")), "and what one lacks"
    assert found["data"] == "data/ holds cifar10", "the data are found"
    assert "writable" in found["disk"], "the folder can be written"
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


def test_doctor_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0, "it works"
    said = capsys.readouterr().out
    assert "no data/ here; embedded datasets need none" in said, "what is not there is said, too"
    assert "'auto' is " in said, "the precision of 'auto' is told"
