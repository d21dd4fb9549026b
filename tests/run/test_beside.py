"""A run of a packaged recipe ends beside what was measured of it and its baseline; one of other settings does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from matx.cli.results import show_beside
from matx.config import load_experiment
from matx.config.recipes import recipe_root
from matx.errors import RunError
from matx.run import Measured, measured_for
from matx.run.beside import MEASURED, MeasuredMethod
from matx.runtime.folder import RunFolder

KNOWN = json.loads((recipe_root() / MEASURED).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", KNOWN)
def test_a_recipe_is_as_it_was_measured(name: str) -> None:
    found = measured_for(name, load_experiment([name]).experiment)
    said = f"{name} has other settings than those measured: run python -m tools.results.embedded again"
    assert found is not None, said
    baseline, method = found.methods
    assert method.recipe == name, "the recipe stands behind its baseline"
    assert load_experiment([baseline.recipe]).experiment is not None, "the baseline is a recipe, too"
    assert len(method.seeds) >= 5, "fewer seeds allow no word such as higher"
    for mean, low, high in (*baseline.figures, *method.figures):
        assert 0 <= low <= mean <= high <= 1, "a mean lies between the lowest and the highest seed"


def test_another_seed_is_the_same_method_and_another_setting_is_not() -> None:
    name = next(iter(KNOWN))
    other = load_experiment([name], ["Experiment.seed=77"]).experiment
    assert measured_for(name, other) is not None, "seeds are what the figures are averaged over"
    longer = load_experiment([name], ["Experiment.epochs=3"]).experiment
    assert measured_for(name, longer) is None, "figures of other settings would mislead"
    assert measured_for("smoke", load_experiment(["smoke"]).experiment) is None, "nothing was measured of it"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / MEASURED).write_text("{")
    with pytest.raises(RunError, match=r"measured\.json: cannot be read"):
        measured_for("at", load_experiment(["at"]).experiment, tmp_path)
    assert measured_for("at", load_experiment(["at"]).experiment, tmp_path / "none") is None, (
        "no file, nothing measured"
    )


def test_the_table_has_baseline_method_and_this_run(
    straight: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # narrower terminals fold the cells
    figures = [(0.9, 0.85, 0.95), (0.5, 0.4, 0.6)]
    columns = [("clean", "clean", "clean"), ("robust", "union", "robust")]
    methods = [
        MeasuredMethod(recipe=name, seeds=range(10, 20), passes=passes, figures=figures)
        for name, passes in (("plain", 23.0), ("sample", 46.0))
    ]
    show_beside(straight, Measured(methods=methods, columns=columns, sentence="No difference shown."))
    lines = capsys.readouterr().out.splitlines()
    assert any("plain, 10 seeds" in line and "90.0 (85.0 to 95.0)" in line and "23" in line for line in lines), lines
    assert any("this run" in line for line in lines), "the run's own figures stand beside them"
    assert lines[-1] == "No difference shown.", "the sentence is under the table"
    show_beside(straight, None)
    assert not capsys.readouterr().out, "of what was not measured nothing is said"
