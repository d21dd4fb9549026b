"""The plug-in in `examples/`: listed, shown, checked, used from gin and run, with nothing of the project touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from isolation import isolated_plugins
from scored import scores

from matx import attacks
from matx.cli import main
from matx.config import load_experiment
from matx.data import MemorySplit
from matx.errors import OptionError
from matx.measure import EvaluationSettings, flags_of
from matx.plugins import load_plugin
from matx.testing.trial import standard_trial
from matx.threat import ThreatModel

EXAMPLES = Path(__file__).parents[1] / "examples"
PLUGIN, RECIPE = EXAMPLES / "my_attack.py", EXAMPLES / "my_attack.gin"


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    with isolated_plugins():
        yield


def _matx(*words: str) -> int:
    """The exit code of `matx WORDS` in this process."""
    return main(list(words))


def test_it_finds_what_gradients_find() -> None:
    load_plugin(PLUGIN)
    trial, threat = standard_trial(count=24), ThreatModel(norm="linf", eps=0.05)
    split = MemorySplit(trial.images, trial.labels, trial.indices)
    pgd, spsa = attacks["pgd"](threat=threat, steps=20), attacks["spsa"](threat=threat, steps=20, probes=32)
    left = [
        int(flags_of({"a": trial.module}, split, EvaluationSettings(attacks=[attack]))["a"].union.sum())
        for attack in (pgd, spsa)
    ]
    assert left[0] <= left[1] <= left[0] + 3, f"of 24 images {left[0]} are robust to PGD and {left[1]} to SPSA"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"steps": 0}, "attacks.spsa.steps: got 0"), ({"distance": 0.0}, "attacks.spsa.distance: got 0.0")],
)
def test_it_refuses_bad_options(options: dict[str, float], sentence: str) -> None:
    load_plugin(PLUGIN)
    with pytest.raises(OptionError, match=sentence):
        attacks["spsa"](threat=ThreatModel(norm="linf", eps=0.1), **options)


def test_gin_reaches_its_options() -> None:
    experiment = load_experiment([RECIPE], ["attacks.spsa.probes=3"], own=True).experiment
    (spsa,) = [attack for attack in experiment.evaluation.attacks if attacks.name_of(attack) == "spsa"]
    assert (spsa.probes, spsa.steps, spsa.threat.key) == (3, 10, "linf:0.1"), "gin does not reach the plug-in's options"
    assert isinstance(spsa, attacks["spsa"]), "gin built something else than the registered class"


def test_it_is_listed_shown_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = ("--plugin", str(PLUGIN))
    assert _matx("list", "attacks", *plugin) == 0, "the list failed"
    assert "attacks.spsa" in capsys.readouterr().out, "the plug-in's attack is not listed"
    assert _matx("show", "attacks.spsa", *plugin) == 0, "show failed"
    shown = capsys.readouterr().out
    assert "my_attack.py" in shown, "show does not say where the attack comes from"
    assert "attacks.spsa.probes" in shown, "show does not list the plug-in's options"
    assert "Pairs of forwards" in shown, "show does not say what an option means"
    assert _matx("check", "attacks.spsa", *plugin) == 0, "the contracts were not kept"
    assert "FAIL" not in capsys.readouterr().out, "check reports a failure"


def test_it_runs_from_another_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "matx", "run", str(RECIPE), "--out", "out", "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0, f"the run failed: {done.stderr[-2000:]}"
    found = {column: score for (_, column), score in scores(tmp_path / "out").items()}
    assert list(found) == ["clean", "linf:0.1", "union"], "the attacks of one threat model do not count together"
    assert found["union"].n == 32, "the evaluation did not see the images that the recipe names"
    resolved = "".join(path.read_text() for path in (tmp_path / "out").glob("*.gin"))
    assert "import my_attack" in resolved, "the run folder does not say which plug-in it needs"


def test_more_probes_are_worth_more() -> None:
    load_plugin(PLUGIN)
    trial = standard_trial(count=24)
    few, many = (
        trial.margins(trial.examples(attacks["spsa"](threat=ThreatModel(norm="l2", eps=0.3), steps=5, probes=probes)))
        for probes in (1, 64)
    )
    assert torch.mean(many) > torch.mean(few), "64 probes reach no higher loss than one"
