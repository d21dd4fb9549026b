"""Comparing runs: statistics against closed forms, pairing by seed, refusals, and the words that are not said."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_scores import METRICS, count, sample_results
from scipy import stats

from matx.cli import main
from matx.compare import (
    Difference,
    Interval,
    as_json,
    as_markdown,
    compare,
    crossed_bootstrap,
    mcnemar,
    notes,
    paired_bootstrap,
    paired_t,
)
from matx.errors import RunError
from matx.results import AttackUsed, FlagColumn, MetricUsed, Score, read_results, write_flags, write_results

SCHEMA_1 = Path(__file__).parents[1] / "data" / "schema_1"
ATTACK = AttackUsed(name="pgd", threat="linf:0.1", options={"steps": 20, "restarts": 1})


def a_run(
    folder: Path,
    name: str,
    seed: int,
    clean: Sequence[bool],
    robust: Sequence[bool],
    *,
    key: str = "linf:0.1",
    further: Sequence[tuple[Score, Sequence[float] | None]] = (),
    identity: Mapping[str, str] | None = None,
    images: str = "abc",
    **changes: Any,
) -> Path:
    """A run folder as far as a comparison reads it: one scored peer `a` with these flags, and further scores of it with
    what they are of each image; `identity` and training `images` change the experiment, `changes` the results."""
    folder.mkdir()
    n = len(clean)
    columns = {("clean", "clean"): clean, ("robust", key): robust, ("robust", "union"): robust}
    own = [count(metric, column, "a", sum(flags), n) for (metric, column), flags in columns.items()]
    per_sample = {where: np.array(flags) for where, flags in columns.items()}
    for score, values in further:
        per_sample |= {} if values is None else {(score.metric, score.column): np.array(values)}
    dataset = {"name": "digits", "split": "test", "n": n, "fingerprint": "abc"}
    known = {"experiment": name, "dataset": dataset, "scored": ("a",), "passes": {"forward": 10.0}}
    known |= {"epochs": {"best": 4, "last": 4}, "attacks": [replace(ATTACK, threat=key)]}
    known |= {"seed": changes.pop("draws", seed)}
    found = sample_results(**{**known, **changes})
    write_results(folder / "results.json", replace(found, scores=[*own, *(score for score, _ in further)]))
    flags = {
        FlagColumn(checkpoint="best", weights="raw", model="a", source=None, metric=metric, column=column): values
        for (metric, column), values in per_sample.items()
    }
    write_flags(folder / "flags.npz", flags, indices=np.arange(n), labels=np.zeros(n, dtype=np.int64))
    known = {"seed": str(seed), "epochs": "4", **(identity or {})}
    (folder / "identity.json").write_text(json.dumps(known))
    (folder / "environment.json").write_text(json.dumps({"seed": seed, "data": {"train": images}}))
    return folder


def coin(seed: int, share: float, n: int = 200) -> list[bool]:
    return [bool(x) for x in np.random.default_rng(seed).random(n) < share]


def test_statistics_agree_with_scipy_and_closed_forms() -> None:
    values = np.array([0.02, 0.05, -0.01, 0.03, 0.04])
    interval = paired_t(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert interval is not None, "five values have a t interval"
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high)), "not Student's interval"
    assert paired_t(values[:1]) is None, "one value has no t interval"

    first, second = np.array([1.0] * 40 + [0.0] * 60), np.array([1.0] * 30 + [0.0] * 50 + [1.0] * 20)
    # 10 images are lost and 20 gained: a binomial test of 20 in 30.
    assert mcnemar(first, second) == pytest.approx(stats.binomtest(20, 30).pvalue), "not McNemar's exact test"
    assert mcnemar(first, first) == 1.0, "equal answers show no difference"
    assert mcnemar(first / 3, second) is None, "shares of several peers are not right-or-wrong answers"

    images = second - first
    spread = 1.96 * images.std() / len(images) ** 0.5
    boot = paired_bootstrap(images)
    assert boot is not None, "a hundred images have an interval"
    assert (boot.low, boot.high) == pytest.approx((images.mean() - spread, images.mean() + spread), abs=0.02), (
        "the bootstrap over images is far from the normal interval"
    )
    several = np.stack([images, images, images])
    crossed = crossed_bootstrap(several)
    assert crossed is not None, "three seeds have a crossed interval"
    assert (crossed.low, crossed.high) == pytest.approx((boot.low, boot.high), abs=0.02), (
        "identical seeds add no spread to that of the images"
    )
    assert crossed_bootstrap(several[:1]) is None, "one seed has no crossed interval"


def a_null_case(rng: np.random.Generator, seeds: int = 5, images: int = 300) -> Difference:
    """Two methods that are equally good on all images that there are, each trained with 5 seeds, tested on 300 images.

    The logit of being right on an image is the sum of the image's difficulty (sd 4: most images are right always or
    never), what the method makes of this image (sd 2.5, drawn for each method alike) and the seed's own luck (sd 0.1).
    """
    difficulty = rng.normal(0.0, 4.0, images)
    right = []
    for _ in ("first", "second"):
        logits = difficulty + rng.normal(0.0, 2.5, images) + rng.normal(0.0, 0.1, (seeds, 1))
        right.append((rng.random((seeds, images)) < 1 / (1 + np.exp(-logits))).astype(float))
    flags = right[1] - right[0]
    values = flags.mean(1)
    t = paired_t(values)
    assert t is not None, "five seeds have a t interval"
    bootstrap = crossed_bootstrap(flags) if t.excludes_zero else Interval(-1.0, 1.0)  # it decides only where t does
    return Difference(
        column="union", by_seed=tuple(enumerate(values)), mean=float(values.mean()), t=t, bootstrap=bootstrap, p=None
    )


def test_equal_methods_are_seldom_called_different() -> None:
    rng, cases = np.random.default_rng(0), 500
    found = [a_null_case(rng) for _ in range(cases)]
    by_t = sum(case.t is not None and case.t.excludes_zero for case in found) / cases
    by_both = sum(case.word in ("higher", "lower") for case in found) / cases
    assert 0.18 <= by_t <= 0.38, f"the t interval over seeds alone is said to err in 18 to 38 %, here {by_t:.1%}"
    assert 0.005 <= by_both <= 0.035, (
        f"1 to 3 % (+- 0.5 %, one standard error of {cases} cases) are to be called different, here {by_both:.1%}"
    )


def test_no_word_without_flags_of_images() -> None:
    by_seed = tuple((seed, 0.1 + 0.001 * seed) for seed in range(5))
    t = paired_t(np.array([value for _, value in by_seed]))
    case = Difference(column="union", by_seed=by_seed, mean=0.1, t=t, bootstrap=None, p=None)
    assert t is not None, "five seeds have a t interval"
    assert t.excludes_zero, "the case is none: by the t interval it would be called higher"
    assert case.word == "", f"without flags nobody knows the spread of images, yet it is called {case.word!r}"


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


IMAGES = {"name": "digits", "split": "test", "n": 4, "fingerprint": "abc"}
OTHER: dict[str, tuple[str, int, dict[str, Any], str]] = {
    "images": (
        "m",
        0,
        {"dataset": {**IMAGES, "fingerprint": "xyz"}},
        "not tested on the same images: fingerprint 'abc' and 'xyz'",
    ),
    "number of images": ("m", 0, {"dataset": {**IMAGES, "n": 3}}, "n 4 and 3"),
    "radius": ("m", 0, {"key": "linf:0.2"}, "not attacked alike: 1 and 0 times pgd in linf:0.1"),
    "steps": (
        "m",
        0,
        {"attacks": [replace(ATTACK, options={"steps": 1, "restarts": 1})]},
        "not attacked alike: pgd in linf:0.1 has steps 20 and 1; allowed: runs evaluated by the same attacks",
    ),
    "a second attack": ("m", 0, {"attacks": [ATTACK, ATTACK]}, "not attacked alike: 1 and 2 times pgd in linf:0.1"),
    "a grid": ("m", 0, {"attacks": [ATTACK, replace(ATTACK, reported=False)]}, "0 and 1 times pgd in linf:0.1"),
    "union only": (
        "m",
        0,
        {"settings": {"batch_size": 256, "union_only": True}},
        "not measured alike: union_only False and True",
    ),
    "a metric": (
        "m",
        0,
        {"metrics": [MetricUsed(name="robust", table="", options={"ways": 3})]},
        "not measured alike: robust.ways missing and 3",
    ),
    "seeds": ("m", 1, {}, "at least one seed that both have"),
    "nothing": ("at", 0, {}, "are both seed 0 of at"),
}


@pytest.mark.parametrize("what", OTHER)
def test_what_cannot_be_compared_is_refused_in_one_sentence(tmp_path: Path, what: str) -> None:
    name, seed, changes, sentence = OTHER[what]
    base = a_run(tmp_path / "base", "at", 0, [True] * 4, [True] * 4)
    other = a_run(tmp_path / "other", name, seed, [True] * 4, [True] * 4, **changes)
    with pytest.raises(RunError, match=re.escape(sentence)) as refused:
        compare([base, other])
    assert "\n" not in str(refused.value), "the refusal is more than one line"


def test_a_comparison_needs_two_runs_with_figures(tmp_path: Path) -> None:
    base = a_run(tmp_path / "base", "at", 0, [True] * 4, [True] * 4)
    with pytest.raises(RunError, match="two or more"):
        compare([base])
    unscored = a_run(tmp_path / "unscored", "m", 0, [True] * 4, [True] * 4, scored=())
    with pytest.raises(RunError, match="no scored peer was evaluated"):
        compare([base, unscored])
    apart = a_run(tmp_path / "apart", "m", 0, [True] * 4, [True] * 4, epochs={"best": 3, "last": 4})
    with pytest.raises(RunError, match="holds no figures of a at checkpoint 'last'; checkpoints: best"):
        compare([base, apart], checkpoint="last")
    for text, sentence in (("{}", "environment.json: holds no seed"), ("{", "environment.json: cannot be read")):
        (unscored / "environment.json").write_text(text)
        write_results(unscored / "results.json", read_results(base))
        with pytest.raises(RunError, match=re.escape(sentence)):
            compare([base, unscored])


def test_the_same_weights_under_weaker_attacks_are_not_higher(tmp_path: Path) -> None:
    """Five seeds scored with 20 steps, and again with 1 step, by which more images seem robust."""
    weaker = replace(ATTACK, options={"steps": 1, "restarts": 1})
    paths = []
    for seed in range(5):
        robust = coin(seed, 0.5)
        more = [flag or extra for flag, extra in zip(robust, coin(seed + 50, 0.2), strict=True)]
        paths.append(a_run(tmp_path / f"strong-{seed}", "at", seed, [True] * 200, robust))
        steps = {"evaluation.attacks[0].steps": "1"}
        paths.append(a_run(tmp_path / f"weak-{seed}", "at", seed, [True] * 200, more, identity=steps, attacks=[weaker]))
    with pytest.raises(RunError, match=re.escape("pgd in linf:0.1 has steps 20 and 1")):
        compare(paths)


def test_threat_models_and_columns_are_compared_by_value(tmp_path: Path) -> None:
    base = a_run(tmp_path / "base", "at", 0, [True] * 4, [True] * 4)
    same = a_run(tmp_path / "same", "m", 0, [True] * 4, [False] * 4, key="linf:1/10")
    found = compare([base, same])
    assert [column.heading for column in found.columns] == ["clean", "linf:0.1", "union"], "columns got lost"
    assert found.differences["m"][1].mean == -1.0, "threats of equal value are not compared by value"


def test_what_differs_and_matters_little_is_named(tmp_path: Path) -> None:
    base = a_run(tmp_path / "base", "at", 0, [True] * 4, [True] * 4)
    changes = {
        "draws": 7,
        "provenance": {"torch": "2.7.1", "device": "cuda", "date": "2026-02-01"},
        "settings": {"batch_size": 64, "union_only": False},
    }
    said = " ".join(notes(compare([base, a_run(tmp_path / "other", "m", 0, [True] * 4, [True] * 4, **changes)])))
    assert "Of training seed 0, the evaluations drew from different seeds: 0, 7." in said, "other draws go unsaid"
    for name, values in (("torch", "2.6.0, 2.7.1"), ("device", "cpu, cuda"), ("batch_size", "256, 64")):
        assert f"Evaluated with different {name}: {values};" in said, f"another {name} goes unsaid"
    assert "date" not in said, "the day of an evaluation is said to matter"
    alike = " ".join(notes(compare([base, a_run(tmp_path / "alike", "m", 0, [True] * 4, [True] * 4)])))
    assert "different" not in alike, "equal evaluations are said to differ"


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


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("results.json", '{"schema": 3}', "got results of schema 3, allowed: 1 or 2"),
        ("results.json", '{"schema": 2, "experiment": "x", "how": {}}', "is a required property"),
        ("flags.npz", "no archive", "cannot be read"),
        ("environment.json", "[", "cannot be read"),
        ("environment.json", '{"seed": null}', "got seed None, allowed: an integer"),
        ("identity.json", "[", "cannot be read"),
        ("identity.json", "[]", "got list, allowed: a JSON object"),
    ],
)
def test_damaged_files_and_unknown_schemas_end_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, sentence: str
) -> None:
    paths = [a_run(tmp_path / name, name, 0, [True] * 4, [True] * 4) for name in ("at", "mat")]
    (paths[1] / file).write_text(text)
    assert main(["compare", *map(str, paths)]) == 2, "bad input ends with exit code 2"
    said = capsys.readouterr().err
    assert sentence in said, f"it is not said what is wrong: {said}"
    assert str(paths[1] / file) in said.replace("\n", ""), f"it is not said where: {said}"
    assert "Traceback" not in said, "a traceback is shown"
