"""Files of schema 1, written before there was another, are read as rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from matx.results import FlagColumn, Results, Score, read_flags, read_results, write_results

SCHEMA_1 = Path(__file__).parent.parent / "data" / "schema_1"


def _score(found: Results, model: str, column: str, *, weights: str = "raw", metric: str | None = None) -> Score:
    (score,) = (
        s
        for s in found.scores
        if (s.model, s.column, s.weights) == (model, column, weights) and metric in (None, s.metric)
    )
    return score


def test_a_run_of_schema_1_is_read() -> None:
    found, old = read_results(SCHEMA_1 / "run"), json.loads((SCHEMA_1 / "run" / "results.json").read_text())
    assert found.experiment == "quick", "the experiment's name got lost"
    assert found.dataset == old["dataset"], "the images got lost"
    assert tuple(found.scored) == ("one", "two"), "the scored peers got lost"
    assert found.epochs == {"best": 2, "last": 2}, "the epochs got lost"
    assert found.passes == old["passes"], "the passes got lost"
    assert found.attacks is None, "schema 1 is said to hold attacks"
    assert {score.checkpoint for score in found.scores} == {"best"}, "one epoch is scored twice"
    assert found.checkpoint_of("last") == "best", "nothing says where the last epoch's scores are"
    for model in ("one", "two"):
        for column in ("clean", "linf:0.1", "union"):
            peer = old["peers"][model]
            rate = peer["threats"][column] if ":" in column else peer[column]
            score = _score(found, model, column)
            assert (score.value, score.low, score.high, score.n) == (
                rate["accuracy"], rate["low"], rate["high"], 30,
            ), f"{column} of {model} is another figure"  # fmt: skip
            assert score.correct == round(30 * rate["accuracy"]), f"{column} of {model} is another count"
            assert score.sanity == "not checked", "a run's own scores have a verdict"


def test_an_evaluation_of_schema_1_is_read() -> None:
    path = SCHEMA_1 / "evaluation"
    found, old = read_results(path), json.loads((path / "results.json").read_text())
    assert (found.effort, found.seed) == ("quick", old["evaluation"]["seed"]), "how was evaluated got lost"
    assert _score(found, "one", "union", weights="ema").value == old["ema"]["peers"]["one"]["union"]["accuracy"], (
        "the averaged weights got lost"
    )
    assert _score(found, "ensemble", "8-bit").value == old["ensemble"]["eight_bit"]["union"]["accuracy"], (
        "what holds after rounding, or the ensemble, got lost"
    )
    radii = [s.column for s in found.scores if s.metric == "radii" and (s.model, s.weights) == ("two", "raw")]
    assert radii == ["linf:0.05", "linf:0.1"], "the radii got lost, or a norm with a single one has a table"
    assert _score(found, "two", "l2:0.5").sanity == "fail", "the verdicts got lost"
    lines = [f"{r.status}, {r.check}: {r.sentence}" for r in found.reasons if (r.model, r.weights) == ("two", "raw")]
    assert lines == old["peers"]["two"]["sanity"]["because"], "the reasons got lost"


def test_what_was_read_of_schema_1_can_be_written_as_schema_2(tmp_path: Path) -> None:
    found = read_results(SCHEMA_1 / "evaluation")
    write_results(tmp_path / "results.json", found)
    assert json.loads((tmp_path / "results.json").read_text())["schema"] == 2, "it is written as another schema"
    assert read_results(tmp_path) == found, "it does not come back"


@pytest.mark.parametrize("folder", ["run", "evaluation"])
def test_flags_of_schema_1_belong_to_the_scores(folder: str) -> None:
    found, flags = read_results(SCHEMA_1 / folder), read_flags(SCHEMA_1 / folder)
    counted = 0
    for score in found.scores:
        column = FlagColumn(
            checkpoint=score.checkpoint, weights=score.weights, model=score.model, source=None, metric=score.metric,
            column=score.column,
        )  # fmt: skip
        if score.metric == "radii":
            continue
        assert flags[column].dtype == np.bool_, f"{column} is no flag"
        assert int(flags[column].sum()) == score.correct, f"{column} counts another number than its score"
        counted += 1
    assert counted >= 6, "hardly any score has its flags"
