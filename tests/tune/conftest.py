"""A recipe to tune, and one quick way to tune it: the study is real, only the training is a stand-in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from sample_runs import QUICK

from matx.config import load_experiment
from matx.runtime.workers import Work
from matx.tune.final import FinalComparison
from matx.tune.storage import open_storage
from matx.tune.study_folder import StudyFolder
from matx.tune.tuning import Request, tune
from tune import synthetic

RECIPE = (
    QUICK.replace("strategies.independent()", "strategies.mat()")
    + """
Experiment.tune = @Tune()
Tune.space = {
    'strategies.mat.alpha': ('float', 0.0, 1.0),
    'strategies.mat.temperature': ('log', 0.5, 8.0),
}
Tune.corners = {'plain': {'strategies.mat.alpha': 0.1}}
Tune.epochs = 3
Tune.seeds = [1001, 1002, 1003]
"""
)

Tuned = Callable[..., tuple[StudyFolder, FinalComparison]]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "quick.gin"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def tuned(recipe: Path) -> Tuned:
    """tuned(trials, *bindings, work=, **request): the recipe's study, begun or continued."""

    def run(
        trials: int, *bindings: str, work: Work = synthetic.train, jobs: int = 1, **request: Any
    ) -> tuple[StudyFolder, FinalComparison]:
        loaded = load_experiment([recipe], bindings)
        return tune(loaded, Request(trials=trials, jobs=jobs, **request), work=work)

    return run


def record(folder: StudyFolder, name: str = "quick") -> list[optuna.trial.FrozenTrial]:
    """The trials of a study as its journal has them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=name, storage=open_storage(str(folder.journal))).get_trials()
