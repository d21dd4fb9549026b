"""Plug-ins on the command line: remembered by a run, and their defects are not taken for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from isolation import isolated_plugins

from matx.cli import main

PLUGIN = '''
"""A plug-in of the tests."""
from dataclasses import dataclass
from typing import ClassVar
import matx
from matx.threat import ThreatModel

@matx.attacks.register("stand_still")
@dataclass(frozen=True, kw_only=True)
class StandStill:
    """The clean image."""
    kind: ClassVar[str] = "maximise"
    threat: ThreatModel
    broken: bool = False
    """True: it raises."""

    def __call__(self, given):
        if self.broken:
            raise ZeroDivisionError("on purpose")
        return given.images.clone()

    @classmethod
    def examples(cls, tmp_path):
        return [cls(threat=ThreatModel(norm="linf", eps=0.1))]
'''


@pytest.fixture
def plugin(home: Path) -> Iterator[Path]:
    """A plug-in file; what it registers is taken back."""
    (home / "stander.py").write_text(PLUGIN)
    with isolated_plugins():
        yield home / "stander.py"


def test_a_plug_in_is_remembered_by_the_run(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--plugin", str(plugin), "-s", "Peer.attacks=[@attacks.stand_still()]"]
    options += ["-s", "attacks.stand_still.threat=@ThreatModel()", "-s", "Experiment.epochs=1"]
    assert main(["run", "quick.gin", "--out", "run", "--device", "cpu", *options]) == 0, "the plug-in's attack runs"
    assert str(plugin) in json.loads(Path("run/environment.json").read_text())["plugins"], "its file is not recorded"
    found = subprocess.run(
        [sys.executable, "-m", "matx", "eval", "run", "-n", "5", "--device", "cpu", "--trust"],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, f"another process does not find the plug-in of the run by itself: {found.stderr}"


def test_a_defect_is_not_taken_for_bad_input(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--plugin", str(plugin), "-s", "Peer.attacks=[@attacks.stand_still()]", "--device", "cpu"]
    options += ["-s", "attacks.stand_still.threat=@ThreatModel()", "-s", "attacks.stand_still.broken=True"]
    assert main(["run", "quick.gin", *options]) == 1, "an exception of a plug-in is not the user's input"
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: on purpose" in shown, "it is named"
    assert "Traceback" not in shown, "without its traceback"
    assert main(["run", "quick.gin", "--debug", *options]) == 1, "the same with --debug"
    assert "stander.py" in capsys.readouterr().err, "--debug shows where"
