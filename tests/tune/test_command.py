"""`matx tune` as users start it: real training, no test image read, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from isolation import isolated_plugins

from matx.cli import main
from tune.conftest import RECIPE

NO_TEST = '''
"""Digits whose test images must not be read."""
from dataclasses import dataclass, replace
import matx

@matx.datasets.register("guarded")
@dataclass(frozen=True, kw_only=True)
class Guarded:
    """The digits, without the test split."""

    def __call__(self):
        def refuse():
            raise RuntimeError("the test split was opened")

        return replace(matx.datasets["digits"]()(), open_test=refuse)

    @classmethod
    def examples(cls, tmp_path):
        return [cls()]
'''
TINY = """
Experiment.train_limit = 40
Experiment.batch_size = 20
Tune.epochs = 1
Tune.seeds = [1001, 1002]
"""


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plug-in beside the recipe; what it registers is taken back."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guarded.py").write_text(NO_TEST)
    with isolated_plugins():
        yield


@pytest.mark.usefixtures("guarded")
def test_a_real_study_reads_no_test_image_and_names_a_plugin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        RECIPE.replace("datasets.digits()", "datasets.guarded()")
        .replace("Tune.epochs = 3", "")
        .replace("Tune.seeds = [1001, 1002, 1003]", "")
        .replace("Experiment.batch_size = 50", "")
        .replace("Experiment.train_limit = 150", "")
    )
    (tmp_path / "mine.gin").write_text("import guarded\n" + text + TINY)
    assert main(["tune", "mine.gin", "--trials", "3", "--jobs", "1"]) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    assert "trials 3/3" in said.err, "progress is shown"
    assert "best 0." in said.err, "with the best so far"
    assert "best.gin" in said.out, "and where the best is"
    study = tmp_path / "studies" / "mine"
    stored = json.loads((study / "trials" / "0000" / "trial.json").read_text())
    assert stored["state"] == "complete", "a real trial was trained to its end, without the test images"
    epochs = (study / "trials" / "0000" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(epochs[-1])["score"] == stored["values"][0], "its value is the run's score"


def test_ctrl_c_leaves_a_study_that_continues(tmp_path: Path) -> None:
    (tmp_path / "quick.gin").write_text(RECIPE)
    script = (
        "from matx.config import load_experiment\n"
        "from matx.runtime.interrupt import Interrupted\n"
        "from matx.tune.tuning import Request, tune\n"
        "from tune import synthetic\n"
        "import sys\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        tune(load_experiment(['quick.gin']), Request(trials=4, jobs=2),\n"
        "             work=getattr(synthetic, sys.argv[1]))\n"
        "    except Interrupted as stop:\n"
        "        print('stopped', stop)\n"
        "        sys.exit(130)\n"
    )
    (tmp_path / "search.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "search.py"]
    log = tmp_path / "studies" / "quick.log"
    process = subprocess.Popen([*command, "slow"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    while not log.exists():
        assert process.poll() is None, "it must come to its first training"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, "Ctrl-C ends it"
    assert "stopped the same command continues the study studies/quick" in said, "and says which study can be continued"
    done = subprocess.run(
        [*command, "train"], cwd=tmp_path, env=environment, timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, f"the same command continues: {done.stderr}"
    lines = (tmp_path / "studies" / "quick" / "trials.csv").read_text().splitlines()
    assert len(lines) == 5, "four results and the head"
    assert (tmp_path / "studies" / "quick" / "best.gin").is_file(), "and the study came to its end"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tune", "no_such_recipe"], "no such file"),
        (["tune", "--show", "x", "y.gin"], "leave FILE and -s away"),
        (["tune", "--trials", "many"], "not a valid integer"),
    ],
)
def test_bad_commands_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2, "bad input is exit code 2"
    assert said in capsys.readouterr().err, "with a sentence"
    assert not list(tmp_path.iterdir()), "nothing was written"


def test_a_search_without_final_seeds_ends_in_its_best_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = RECIPE.replace("Tune.seeds = [1001, 1002, 1003]", "Tune.seeds = []")
    (tmp_path / "mine.gin").write_text(text)
    assert main(["tune", "mine.gin", "--trials", "2", "--jobs", "1"]) == 0, capsys.readouterr().err
    study = tmp_path / "studies" / "mine"
    assert not (study / "final").exists(), "nothing is run again"
    final = json.loads((study / "final.json").read_text())
    assert final["comparisons"] == [], "nothing is compared"
    assert final["takes"], "best.gin takes the best trial's values"
    assert "no final runs were asked for" in (study / "best.gin").read_text(), (
        "and its head says that they are untested"
    )
