"""An experiment made in Python is run, resumed, evaluated, tuned and compared as one that was read from a file."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from isolation import isolated_plugins

import matx
from matx.config import loaded_from
from matx.errors import RunError
from matx.run import resume, run
from matx.runtime.stored import load_own

ATTACK = '''
"""An attack of our own."""
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated, ClassVar
import matx
from matx.options import Range

@matx.attacks.register("brighter")
@dataclass(frozen=True, kw_only=True)
class Brighter:
    """Adds a share of the radius to every pixel."""
    kind: ClassVar = "maximise"
    threat: matx.ThreatModel
    share: Annotated[float, Range(0, 1)] = 0.5
    def __call__(self, given):
        return (given.images + self.share * self.threat.radius).clamp(0, 1)
'''


def made(module: Any) -> matx.Experiment:
    attack = module.Brighter(threat=matx.ThreatModel(norm="linf", eps=0.1), share=0.75)
    sgd, tiny, digits = matx.optimizers["sgd"], matx.architectures["tiny"], matx.datasets["digits"]
    peers = {name: matx.Peer(architecture=tiny(width=4), attacks=[attack], optimizer=sgd()) for name in ("a", "b")}
    return matx.Experiment(
        dataset=digits(),
        peers=peers,
        strategy=matx.strategies["independent"](),
        evaluation=matx.Evaluation(attacks=[attack], validation_attacks=[attack], validation_images=20, images=30),
        epochs=1,
        batch_size=50,
        train_limit=100,
    )


def matx_done(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "matx", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=os.environ, timeout=300)


def matx_says(*arguments: object, cwd: Path) -> str:
    done = matx_done(*arguments, cwd=cwd)
    assert done.returncode == 0, f"matx {arguments[0]} must work on it:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_a_folder_of_an_experiment_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
    (home / "brightening.py").write_text(ATTACK)
    monkeypatch.syspath_prepend(str(home))
    with isolated_plugins():
        experiment = made(importlib.import_module("brightening"))
        first = run(loaded_from(experiment, "mine"), out=tmp_path / "first")
        second = run(loaded_from(replace(experiment, seed=1), "mine"), out=tmp_path / "second")
        assert load_own(first).experiment == experiment, "the folder's gin file gives the same experiment"
        assert resume(first.path).finished, "it can be resumed: there is nothing left to do"
        with pytest.raises(RunError):
            run(loaded_from(experiment, "mine"), out=tmp_path / "first")
    monkeypatch.undo()
    plugin = ["--plugin", Path("..") / "home" / "brightening.py"]
    refused = matx_done("eval", first.path, cwd=elsewhere)
    assert refused.returncode == 2, f"nobody has agreed to what the folder asks for:\n{refused.stdout}"
    assert "would run the code of" in refused.stderr, f"the refusal says what would run:\n{refused.stderr}"
    assert "union" in matx_says("eval", first.path, *plugin, cwd=elsewhere), "the plug-in that the user names is enough"
    assert "seed" in matx_says("compare", first.path, second.path, *plugin, cwd=elsewhere), "compare reads both"
    assert matx_says("run", "--resume", first.path, *plugin, cwd=elsewhere), "so does resume"
    space = "Tune.space={'attacks.brighter.share': ('float', 0.0, 1.0)}"
    tune = ["-s", "Experiment.tune=@Tune()", "-s", space, "-s", "Tune.seeds=(1, 2)", "--trials", 1, "--jobs", 1]
    said = matx_says("tune", first.path / "config.gin", *plugin, *tune, "--study", tmp_path / "study", cwd=elsewhere)
    assert (tmp_path / "study" / "best.gin").is_file(), f"tune searches an option of the module:\n{said}"
