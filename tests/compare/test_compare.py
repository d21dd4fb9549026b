"""Comparing runs: pairing by seed, methods, columns of any metric, older results, the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sample_scores import METRICS, count

from matx.cli import main
from matx.compare import (
    as_json,
    as_markdown,
    compare,
    notes,
)
from matx.results import MetricUsed, Score
from tests.compare.runs import a_run, coin

SCHEMA_1 = Path(__file__).parents[1] / "data" / "schema_1"


def test_runs_are_paired_by_seed(tmp_path: Path) -> None:
    paths = []
    for seed in range(5):
        base = coin(seed, 0.5)
        better = [b or c for b, c in zip(base, coin(seed + 50, 0.2), strict=True)]
        paths.append(a_run(tmp_path / f"at-{seed}", "at", seed, [True] * 200, base))
        paths.append(a_run(tmp_path / f"mat-{seed}", "mat", seed, [True] * 200, better, passes={"forward": 20.0}))
    found = compare(paths)
    assert [method.name for method in found.methods] == ["at", "mat"], "runs that differ in the seed are one method"
    union = next(d for d in found.differences["mat"] if d.column == "union")
    assert [seed for seed, _ in union.by_seed] == [0, 1, 2, 3, 4], "every paired seed's value is kept"
    assert union.word == "higher", f"five seeds of about +10 points are called {union.word!r}"
    clean = next(d for d in found.differences["mat"] if d.column == "clean")
    assert clean.word == "no difference shown", "equal clean accuracies are called different"
    assert any("Cost NOT equal" in note for note in notes(found)), "a doubled cost goes unsaid"
    fewer = compare([path for path in paths if not path.name.endswith("-4")])
    assert all(d.word == "" for d in fewer.differences["mat"]), "four paired seeds got a word such as higher"
    assert any("too few to call" in note for note in notes(fewer)), "few seeds go unsaid"


def test_a_method_is_its_settings_and_its_training_images(tmp_path: Path) -> None:
    runs = {
        name: a_run(tmp_path / name, "at", seed, [True] * 4, [True] * 4, **changes)
        for name, seed, changes in (
            ("zero", 0, {}),
            ("one", 1, {}),
            ("other settings", 0, {"identity": {"epochs": "5"}}),
            ("other images", 0, {"images": "xyz"}),
        )
    }
    found = compare(list(runs.values()))
    assert [[run.path.name for run in method.runs] for method in found.methods] == [
        ["zero", "one"], ["other settings"], ["other images"],
    ], "runs that differ in more than the seed are one method, or runs of one method are several"  # fmt: skip


def test_one_seed_speaks_of_two_models_only(tmp_path: Path) -> None:
    first = a_run(tmp_path / "one", "at", 0, [True] * 200, coin(1, 0.5))
    second = a_run(tmp_path / "two", "mat", 0, [True] * 200, coin(2, 0.6))
    text = as_markdown(compare([first, second]))
    assert "these two models, not the methods" in text, "one seed is presented as a comparison of methods"
    assert "McNemar p" in text, "one seed shows no McNemar test"
    plain = as_json(compare([first, second]))["differences"]["mat"]["union"]
    assert plain["t"] is None, "one seed has a t interval"
    assert plain["scope"] == "these two models, not the methods", "the JSON does not say what a single seed speaks of"


def a_value(metric: str, column: str, value: float) -> Score:
    return Score(checkpoint="best", weights="raw", model="a", metric=metric, column=column, n=200, value=value)


def test_columns_of_any_metric_are_compared(tmp_path: Path) -> None:
    """Of one metric a count, the mean of a value per image, and a figure that no image has, such as an ECE."""
    paths = []
    for seed in range(5):
        for name, share, shift in (("at", 0.5, 0.0), ("mat", 0.9, 0.3)):
            flags = coin(seed, share)
            distances = [shift + 0.1 * x for x in np.random.default_rng(seed).random(200)]
            further: list[tuple[Score, Sequence[float] | None]] = [
                (count("plugin", "outlives", "a", sum(flags), 200), flags),
                (a_value("plugin", "distance", float(np.mean(distances))), distances),
                (a_value("plugin", "median", float(np.median(distances))), None),
            ]
            if name == "at":
                further.append((a_value("other", "alone", 1.0), None))
            metrics = [*METRICS, MetricUsed(name="plugin", table="A plug-in's")]
            path = tmp_path / f"{name}-{seed}"
            paths.append(a_run(path, name, seed, [True] * 200, flags, further=further, metrics=metrics))
    found = compare(paths)
    by_column = {difference.column: difference for difference in found.differences["mat"]}
    assert list(by_column) == ["clean", "linf:0.1", "union", "outlives", "distance", "median"], "columns are missing"
    for column in ("outlives", "distance"):
        assert by_column[column].bootstrap is not None, f"{column}: the values per image are not used"
        assert by_column[column].word == "higher", f"{column} is called {by_column[column].word!r}"
    assert by_column["median"].mean == pytest.approx(0.3), "a figure without values per image is not compared"
    assert by_column["median"].bootstrap is None, "a figure without values per image has an interval over images"
    assert by_column["median"].word == "", "a figure without values per image is called higher by the seeds alone"
    text = as_markdown(found)
    assert "by seed +0.3 +0.3 +0.3" in text, "a value is shown as a share"
    assert "never called higher or lower, for not all runs have values per image: median." in text, "nothing says why"
    assert "Not in all runs, and left out: alone." in text, "a column that one method lacks vanishes without a word"


def test_values_per_image_that_the_figure_does_not_average_are_not_used(tmp_path: Path) -> None:
    distances = [0.1] * 150 + [9.0] * 50
    further = [(a_value("plugin", "distance", float(np.median(distances))), distances)]
    paths = [a_run(tmp_path / name, name, 0, [True] * 200, [True] * 200, further=further) for name in ("at", "mat")]
    difference = compare(paths).differences["mat"][-1]
    assert difference.column == "distance", "the column is missing"
    assert difference.bootstrap is None, "the interval of a median is that of a mean"


def test_runs_of_schema_1_are_compared_and_said_to_be_so(tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(SCHEMA_1 / "run", old)
    other = tmp_path / "other"
    shutil.copytree(old, other)
    resolved = json.loads((other / "resolved.json").read_text())
    (other / "resolved.json").write_text(json.dumps({**resolved, "batch_size": 25}))
    for checkpoint in ("best", "last"):
        found = compare([old, other], checkpoint=checkpoint)
        (difference,) = [d for d in found.differences["quick (other)"] if d.column == "union"]
        assert difference.mean == 0.0, "equal runs differ"
        assert difference.bootstrap is not None, "the flags of schema 1 are not read"
    assert [round(100 * found.methods[0].runs[0].means[c], 1) for c in ("clean", "linf:0.1")] == [61.7, 8.3], (
        "the means over scored peers are not those of the run's own report"
    )
    assert "Attacks not recorded, so they may differ: old, other (results of schema 1)." in notes(found), "unsaid"


def test_the_command_prints_all_three_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = a_run(tmp_path / "one", "at", 0, [True] * 50, coin(1, 0.5, 50))
    second = a_run(tmp_path / "two", "at", 0, [True] * 50, coin(2, 0.6, 50), identity={"strategy.alpha": "0.5"})
    for form in ("text", "markdown", "json"):
        assert main(["compare", str(first), str(second), "--format", form]) == 0, f"--format {form} failed"
        shown = capsys.readouterr().out
        assert "at (two)" in shown, f"{form}: methods of one name are not told apart by their folder"
    assert json.loads(shown)["schema"] == 2, "the JSON form is not JSON of schema 2"
    assert main(["compare", str(first), str(second), "--json"]) == 0, "--json failed"
    assert capsys.readouterr().out == shown, "--json is not the same document as --format json"
    assert main(["compare", str(first), str(tmp_path / "nothing")]) == 2, "a missing run is not bad input"
    assert "is not there" in capsys.readouterr().err, "a missing run gets no clear sentence"
