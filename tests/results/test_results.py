"""results.json and flags.npz of schema 2: what is written comes back, anything else is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_scores import count, model_scores, sample_results

from matx.errors import RunError
from matx.results import (
    AttackUsed,
    FlagColumn,
    SanityReason,
    Score,
    headings,
    mean_of,
    read_flags,
    read_results,
    write_flags,
    write_results,
)

REASON = SanityReason(
    checkpoint="best", weights="raw", model="linf", check="growth", threat=None, status="warn", sentence="s", value=0.1
)
VALUE = Score(checkpoint="best", weights="ema", model="linf", metric="calibration", column="ECE", n=20, value=0.031)


def test_results_round_trip_and_bytes_repeat(tmp_path: Path) -> None:
    grid = AttackUsed(name="pgd", threat="l2:0.5", options={"steps": [1, None], "more": {"a": 1.5}}, reported=False)
    transferred = count("transfer", "fooled", "linf", 3, source="generalist")
    found = sample_results([VALUE, transferred], attacks=[grid], reasons=[REASON], effort="quick")
    write_results(tmp_path / "results.json", found)
    first = (tmp_path / "results.json").read_bytes()
    assert read_results(tmp_path) == found, "a run folder's results do not come back"
    write_results(tmp_path / "results.json", read_results(tmp_path / "results.json"))
    assert (tmp_path / "results.json").read_bytes() == first, "writing what was read gave other bytes"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"], "a partial file was left behind"


def test_scores_are_rows_as_published(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", sample_results([VALUE]))
    content = json.loads((tmp_path / "results.json").read_text())
    assert list(content) == ["schema", "experiment", "how", "scores", "digest"], "the head of results.json is another"
    row = content["scores"][7]
    assert row == {
        "checkpoint": "best", "weights": "raw", "model": "generalist", "source": None, "metric": "robust",
        "column": "union", "correct": 6, "n": 20, "accuracy": 0.3, "low": row["low"], "high": row["high"],
        "sanity": "not checked",
    }, "a count is another row"  # fmt: skip
    assert (row["low"], row["high"]) == pytest.approx((0.1455, 0.5190), abs=1e-4), "the interval is not Wilson's"
    value = content["scores"][-1]
    assert (value["value"], value["low"], "correct" in value) == (0.031, None, False), "a value is written as a count"


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_figure_that_is_not_finite_comes_back(tmp_path: Path, value: float) -> None:
    median = Score(checkpoint="best", weights="raw", model="linf", metric="margin", column="median", n=20, value=value)
    write_results(tmp_path / "results.json", sample_results([median]))
    json.loads((tmp_path / "results.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read_results(tmp_path).scores[-1].value == pytest.approx(value, nan_ok=True), f"{value} does not come back"


def test_checkpoints_of_one_epoch_share_their_scores() -> None:
    best = [score for score in sample_results().scores if score.checkpoint == "best"]
    assert sample_results().checkpoint_of("last") == "last", "scores of its own are taken from elsewhere"
    same = sample_results(epochs={"best": 7, "last": 7})
    apart = sample_results(epochs={"best": 7, "last": 8})
    for found, expected in ((same, "best"), (apart, "last")):
        object.__setattr__(found, "scores", tuple(best))
        assert found.checkpoint_of("last") == expected, f"last of epochs {found.epochs} is scored as {expected!r}"


def test_means_are_over_all_models_or_none() -> None:
    scores = [*model_scores("a", 10, {"linf:0.1": 4}, 4), *model_scores("b", 20, {}, 8)]
    assert mean_of(scores, ["a", "b"], "clean", "clean") == pytest.approx(0.75), "the mean is wrong"
    assert mean_of(scores, ["a", "b"], "robust", "linf:0.1") is None, "a mean leaves out the model without a score"
    fooled = [count("clean", "clean", "a", 0, source="b")]
    assert mean_of([*scores, *fooled], ["a"], "clean", "clean") == 0.5, "examples of another peer count as its own"
    assert mean_of(scores, [], "clean", "clean") is None, "the mean over nobody is a number"


def test_headings_tell_columns_of_one_name_apart() -> None:
    scores = [count("clean", "clean", "a", 1), count("mine", "clean", "a", 1), count("robust", "union", "a", 1)]
    assert list(headings(scores).values()) == ["clean (clean)", "clean (mine)", "union"], "two columns are one"


def test_a_column_names_its_threat_model_or_none() -> None:
    threat = count("x", "linf:8/255", "a", 1).threat
    assert threat is not None, "a threat model is taken for none"
    assert threat.key == "linf:8/255", "the column is another threat model's"
    for column in ("l9:1", "clean", "linf:x"):
        assert count("x", column, "a", 1).threat is None, f"{column} is taken for a threat model"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is not there"),
        ("not json", "cannot be read as JSON"),
        ("[]", "damaged: holds no results"),
        ('{"schema": 3}', "got results of schema 3, allowed: 1 or 2"),
        ('{"schema": true}', "damaged: holds no results"),
        ('{"schema": 1, "experiment": "x"}', "checkpoint, dataset, peers missing"),
        ('{"schema": 2}', "'experiment' is a required property"),
        (
            '{"schema": 1, "experiment": "x", "checkpoint": "best", "dataset": {"name": "d", "split": "test", "n": 1}, '
            '"peers": {"a": {}}}',
            "damaged (KeyError: 'clean')",
        ),
    ],
)
def test_other_results_are_refused_in_one_sentence(tmp_path: Path, content: str | None, sentence: str) -> None:
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RunError, match=r"results\.json") as refused:
        read_results(file)
    assert sentence in str(refused.value), f"the refusal does not say what is wrong: {refused.value}"
    assert "\n" not in str(refused.value), "the refusal is more than one line"


def _drop_how(content: Any) -> None:
    del content["how"]["seed"]


def _other_weights(content: Any) -> None:
    content["scores"][0]["weights"] = "swa"


def _both(content: Any) -> None:
    content["scores"][0]["value"] = 0.5


def _unknown(content: Any) -> None:
    content["scores"][0]["colour"] = "red"


def _too_high(content: Any) -> None:
    content["scores"][0]["accuracy"] = 90.0


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (_drop_how, "how: 'seed' is a required property"),
        (_other_weights, "scores/0/weights: 'swa' is not one of"),
        (_both, "scores/0"),
        (_unknown, "scores/0: Additional properties are not allowed ('colour' was unexpected)"),
        (_too_high, "scores/0/accuracy: 90.0 is greater than the maximum of 1"),
    ],
)
def test_the_published_schema_is_applied(tmp_path: Path, damage: Callable[[Any], None], where: str) -> None:
    write_results(tmp_path / "results.json", sample_results())
    content = json.loads((tmp_path / "results.json").read_text())
    damage(content)
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(RunError) as refused:
        read_results(tmp_path)
    assert where in str(refused.value), f"the refusal does not say where: {refused.value}"
    assert "\n" not in str(refused.value), "the refusal is more than one line"


def test_what_the_schema_does_not_admit_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="scores/16/sanity: 'perhaps' is not one of"):
        write_results(tmp_path / "results.json", sample_results([count("x", "y", "a", 1, sanity="perhaps")]))
    assert not (tmp_path / "results.json").exists(), "a refused file was written"


def test_more_right_than_samples_are_refused(tmp_path: Path) -> None:
    wrong = replace(count("x", "y", "a", 1), correct=7, n=6)
    with pytest.raises(RunError, match="y of a: got 7 correct of 6, allowed: at most all"):
        write_results(tmp_path / "results.json", sample_results([wrong]))


def test_a_score_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    twice = [count("x", "y", "a", 1), count("x", "y", "a", 2)]
    with pytest.raises(RunError, match="score of checkpoint best, weights raw, model a, metric x, column y twice"):
        write_results(tmp_path / "results.json", sample_results(twice))
    write_results(tmp_path / "results.json", sample_results(twice[:1]))
    content = json.loads((tmp_path / "results.json").read_text())
    content["scores"].append(content["scores"][0])
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="metric clean, column clean twice; allowed: each once"):
        read_results(tmp_path)


def _column(name: str, **changes: Any) -> FlagColumn:
    known = {"checkpoint": "best", "weights": "raw", "model": "a", "source": None, "metric": "m", "column": name}
    return FlagColumn(**{**known, **changes})


def test_columns_of_any_type_come_back(tmp_path: Path) -> None:
    columns = {
        _column("clean"): np.array([True, False, True]),
        _column("clean", source="b"): np.array([False, False, True]),
        _column("distance", weights="ema"): np.array([0.5, np.inf, 1.0], dtype=np.float32),
    }
    write_flags(tmp_path / "flags.npz", columns, indices=np.array([4, 5, 9]), labels=np.array([0, 1, 1]))
    found = read_flags(tmp_path)
    assert list(found) == list(columns), "columns do not come back in their order"
    for column, values in columns.items():
        assert found[column].dtype == values.dtype, f"{column}: another type"
        assert found[column].tolist() == values.tolist(), f"{column}: other values"
    with np.load(tmp_path / "flags.npz") as stored:
        assert stored["indices"].tolist() == [4, 5, 9], "the images' indices are not there"
    assert read_flags(tmp_path / "nowhere") == {}, "a folder without flags has some"


def _written(folder: Path, **arrays: Any) -> Path:
    known = {
        "schema": np.array(2), "indices": np.arange(3), "labels": np.zeros(3),
        "columns": np.array(json.dumps([vars(_column("clean"))])), "0": np.array([True, False, True]),
    }  # fmt: skip
    np.savez(folder / "flags.npz", **{k: v for k, v in {**known, **arrays}.items() if v is not None})
    return folder


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"schema": np.array(3)}, "got flags of schema 3, allowed: 1 or 2"),
        ({"schema": None}, "cannot be read"),
        ({"0": np.array([True, False])}, "got column 'clean' of 'a' of shape (2,), allowed: (3,), a value per image"),
        ({"indices": None}, "damaged (KeyError"),
        ({"0": None}, "damaged (KeyError"),
        ({"columns": np.array("[{}]")}, "damaged (TypeError"),
        ({"columns": np.array(json.dumps([vars(_column("clean"))] * 2)), "1": np.ones(3)}, "'clean' of 'a' twice"),
    ],
)
def test_damaged_flags_are_refused_in_one_sentence(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RunError, match=r"flags\.npz") as refused:
        read_flags(_written(tmp_path, **arrays))
    assert sentence in str(refused.value), f"the refusal does not say what is wrong: {refused.value}"
    assert "\n" not in str(refused.value), "the refusal is more than one line"


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flags.npz").write_bytes(b"PK not really")
    with pytest.raises(RunError, match="cannot be read"):
        read_flags(tmp_path)


def test_columns_of_another_length_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="of shape"):
        write_flags(
            tmp_path / "flags.npz", {_column("clean"): np.array([True])}, indices=np.arange(3), labels=np.zeros(3)
        )
    assert not (tmp_path / "flags.npz").exists(), "a refused file was written"
