"""Reports: sheets that hold whatever metrics were measured and say how, and bytes that depend on nothing else."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sample_scores import METRICS, PGD, count, model_scores, sample_results

from matx.errors import RunError
from matx.report import Seconds, curves, failed, how, html, markdown, sections, tables
from matx.results import AttackUsed, MetricUsed, Results, SanityReason, Score, read_results, write_results
from matx.runtime.journal import read_rows

SCHEMA_1 = Path(__file__).parents[1] / "data" / "schema_1"


def _printed(found: Results, seconds: Seconds | None = None, width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    for one in tables(found, seconds):
        console.print(one)
    return console.export_text()


def _drawn(page: str) -> list[dict[str, Any]]:
    """The rows of every figure of a page."""
    specs = re.findall(r'<script type="application/json">(.*?)</script>', page)
    return [json.loads(spec)["data"]["values"] for spec in specs]


def _row(text: str, name: str) -> list[str]:
    """The cells of the first row of Markdown with this name."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_markdown_says_what_results_say(tmp_path: Path) -> None:
    found = sample_results()
    text = markdown(found)
    write_results(tmp_path / "results.json", found)
    assert text == markdown(read_results(tmp_path)), "the report depends on more than results.json"
    lines = text.splitlines()
    assert "| model | clean | linf:8/255 | l1:12 | union | sanity |" in lines, "columns are not in order of appearance"
    cells = _row(text, "generalist")
    assert [cell.split()[0] for cell in cells] == ["80.0", "50.0", "60.0", "30.0", "not"], "another figure"
    assert cells[0] == "80.0 [58.4, 91.9]", "a figure has no interval"
    assert lines.index("## Checkpoint best, epoch 7") < lines.index("## Checkpoint last, epoch 10"), "no block"
    assert "forward 25.0, backward input 10.0, backward weights 2.0" in text, "the passes are not reported"
    assert "union: right under every threat model, per image" in text, "nothing says what union counts"


def test_terminal_tables_show_peers_with_intervals() -> None:
    shown = _printed(sample_results())
    assert all(title in shown for title in ("model", "clean", "linf:8/255", "l1:12", "union")), "a column is missing"
    assert "80.0 [58.4, 91.9]" in shown, "a figure or its interval is missing"
    assert "checkpoint best, epoch 7" in shown, "the table does not say whose figures it shows"
    assert "85.0 [" in shown.partition("checkpoint last")[2], "the table of the last checkpoint is missing"


def test_best_is_before_last_and_one_epoch_is_shown_once() -> None:
    scores = sample_results().scores
    turned = replace(sample_results(), scores=list(reversed(scores)))
    assert [section.checkpoint for section in sections(turned)] == ["best", "last"], "last is shown before best"
    best = [score for score in scores if score.checkpoint == "best"]
    same = replace(sample_results(), scores=best, epochs={"best": 7, "last": 7})
    for text in (markdown(same), html(same), _printed(same)):
        assert "Checkpoint last is the same as best: epoch 7" in text, "nothing says that both are one epoch"
        assert "heckpoint last, epoch" not in text, "one epoch is shown twice"
    assert "the same as" not in markdown(sample_results()), "two epochs are called the same"


def test_every_report_names_attacks_settings_seed_versions_and_date() -> None:
    square = AttackUsed(name="square", threat="l1:12", options={"queries": 5000})
    further = [replace(PGD, threat=f"linf:{eps}/255", reported=False) for eps in (2, 4)]
    corruptions = MetricUsed(name="corruptions", table="x", options={"severity": 3})
    found = sample_results(attacks=[PGD, square, *further], metrics=[*METRICS, corruptions])
    lines = how(found)
    assert "Attack pgd(steps=20, restarts=1) in linf:8/255; not the default: steps." in lines, f"PGD is told as {lines}"
    assert "Attack square(queries=5000) in l1:12; as by default." in lines, f"Square is told as {lines}"
    assert "At further radii pgd(steps=20, restarts=1) in linf:2/255, linf:4/255; not the default: steps." in lines, (
        f"the grid is told as {lines}"
    )
    assert "Seed 3, batch_size 256, union_only False." in lines, "the seed and the settings are not told"
    assert "Made with torch 2.6.0, device cpu, date 2026-01-31." in lines, "versions and date are not told"
    assert any("corruptions(severity=3)" in line for line in lines), "a metric's settings are not told"
    for text in (markdown(found), html(found)):
        assert "pgd(steps=20, restarts=1) in linf:8/255" in text, "a report does not name its attacks"
    assert how(sample_results(attacks=[]))[0] == "No attack.", "an evaluation without attacks does not say so"


def test_a_mean_is_over_scored_peers() -> None:
    found = sample_results(scored=("linf", "generalist"))
    assert _row(markdown(found), "mean of 2 scored") == ["85.0", "55.0", "37.5", "20.0", "not checked"], "wrong means"
    assert "mean of" not in markdown(sample_results()), "the mean of one peer is shown"


def _checked() -> Results:
    """A check of the generalist failed in l1 alone; the other peer was not checked, nor the checkpoint last."""
    verdicts = {"linf:8/255": "pass", "l1:12": "fail"}
    scores = [
        replace(score, sanity=verdicts.get(score.column, "fail"))
        if (score.model, score.checkpoint) == ("generalist", "best")
        else score
        for score in sample_results().scores
    ]
    reason = SanityReason(
        checkpoint="best", weights="raw", model="generalist", check="black box", threat="l1:12", status="fail",
        sentence="l1:12: Square breaks 9", value=0.4,
    )  # fmt: skip
    return replace(sample_results(), scores=scores, effort="quick", reasons=[reason, reason])


def test_every_score_has_its_verdict_beside_it() -> None:
    found = _checked()
    cells = _row(markdown(found), "generalist")
    assert [cell.split()[-1] for cell in cells[1:3]] == ["pass", "fail"], "a threat model has no verdict beside it"
    assert cells[0].endswith("]"), "a column without a verdict of its own shows one"
    assert cells[-1] == "fail", "the row's verdict is not the gravest"
    for text in (markdown(found), html(found), _printed(found)):
        assert "not checked" in text, "a score that was not checked does not say so"
    said = "best generalist: fail, black box: l1:12: Square breaks 9"
    assert markdown(found).count(said) == 1, "the reason is not given once"
    assert said in html(found), "the page does not give the reason"
    assert '<span class="fail">fail</span>' in html(found), "the page does not mark what fails"
    assert "Sanity (quick)" in markdown(found), "the effort of the checks is not told"
    assert failed(found), "nothing says that a check failed"
    assert not failed(sample_results()), "what was not checked counts as failed"
    several = replace(found, scored=("linf", "generalist"))
    assert _row(markdown(several), "mean of 2 scored")[-1] == "not checked", "an unchecked peer counts as checked"


def test_averages_are_below_the_weights_that_they_average() -> None:
    averaged = model_scores("generalist", 15, {"linf:8/255": 9, "l1:12": 8}, 5, weights="ema")
    text = markdown(sample_results([replace(score, sanity="pass") for score in averaged]))
    lines = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    assert lines[:5] == ["| model", "| ---", "| linf", "| generalist", "| generalist (EMA)"], f"the rows are {lines}"
    assert _row(text, "generalist (EMA)")[-1] == "pass", "averages have no verdict of their own"
    assert "generalist (EMA)" in markdown(replace(sample_results(), scores=averaged)), "averages alone are not marked"
    both = [*averaged, *model_scores("linf", 15, {"linf:8/255": 8, "l1:12": 1}, 1, weights="ema")]
    means = markdown(sample_results(both, scored=("linf", "generalist")))
    assert _row(means, "mean of 2 scored (EMA)")[0] == "75.0", "averages have no mean of their own"


def test_seconds_are_shown_with_their_sums() -> None:
    spent = {"best": {"raw": {"linf": {"clean": 0.5, "linf:8/255": 2.0, "all": 2.5, "sanity": 1.0}}}}
    lines = markdown(sample_results(), spent).splitlines()
    assert "| model | clean | linf:8/255 | total | sanity |" in lines, "seconds are not shown by threat model"
    assert "| linf | 0.5 | 2.0 | 2.5 | 1.0 |" in lines, "a peer's seconds are wrong"
    assert "| all | 0.5 | 2.0 | 2.5 | 1.0 |" in lines, "their sums are wrong"
    assert "Seconds" not in markdown(sample_results()), "a run's report, which repeats byte for byte, holds seconds"


def test_columns_of_threat_models_have_a_table_and_a_chart_a_norm() -> None:
    radii = [("linf:2/255", 14), ("linf:4/255", 12), ("l2:0.5", 9), ("l2:1", 3)]
    found = sample_results([count("radii", key, "generalist", correct) for key, correct in radii])
    text, page = markdown(found), html(found)
    assert "| model | linf:2/255 | linf:4/255 |" in text, "the radii of a norm are no table"
    assert "| model | l2:0.5 | l2:1 |" in text, "the second norm has no table"
    assert "| generalist | 70.0 [48.1, 85.5] | 60.0 [38.7, 78.1] |" in text, "a figure has no interval"
    titles = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert titles[1:3] == ["Accuracy by radius, %, linf", "Accuracy by radius, %, l2"], "a chart a norm"
    line = [value for row in _drawn(page)[1] for value in (row["x"], row["y"])]
    assert line == pytest.approx([0.0, 80.0, 2 / 255, 70.0, 4 / 255, 60.0]), "from the clean accuracy on"
    margins = [count("margin", f"over linf:{eps}", "generalist", correct) for eps, correct in ((0.1, 14), (0.2, 7))]
    own = [MetricUsed(name="margin", table="Margin"), *METRICS]
    page = html(sample_results([*margins, count("margin", "over l1:3", "generalist", 5)], metrics=own))
    titles = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert titles == ["Accuracy, with 95 % intervals", "Margin, over linf", "Accuracy, with 95 % intervals"], (
        "a norm with a single radius is drawn, or one with two is not"
    )
    line = [value for row in _drawn(page)[1] for value in (row["x"], row["y"])]
    assert line == pytest.approx([0.1, 70.0, 0.2, 35.0]), "the curve of something else has no clean accuracy"


def test_any_metric_has_its_columns_and_its_table() -> None:
    """A metric that nobody here has heard of: a value in the first table, two in its own, and a matrix of peers."""

    def value(metric: str, column: str, model: str, value: float, **at: str) -> Score:
        return Score(
            checkpoint="best", weights="raw", metric=metric, column=column, model=model, n=20, value=value, low=0.01,
            high=0.5, **at,
        )  # fmt: skip

    found = sample_results(
        [
            value("sharpness", "sharpness", "generalist", 0.0312),
            value("spread", "median", "linf", 12345.0),
            count("spread", "union", "linf", 10),
            count("transfer", "fooled", "linf", 5, source="generalist"),
            count("transfer", "fooled", "generalist", 15, source="linf"),
        ],
        metrics=[
            *METRICS,
            MetricUsed(name="sharpness", table=""),
            MetricUsed(name="spread", table="How far they spread"),
        ],
    )
    text, page, shown = markdown(found), html(found), _printed(found)
    assert "| model | clean | linf:8/255 | l1:12 | union | sharpness | sanity |" in text, "no column in the first table"
    assert _row(text, "generalist")[4] == "0.0312 [0.01, 0.5]", "a value is shown as a share"
    assert _row(text, "linf")[4] == "-", "a missing figure is not shown as missing"
    assert "How far they spread:\n\n| model | median | union |" in text, "a metric's own table is missing"
    assert "1.234e+04 [0.01, 0.5] | 50.0 [29.9, 70.1]" in text, "its figures are wrong"
    assert "Transfer, %: fooled:\n\n| source | linf | generalist |" in text, "a matrix of peers is missing"
    assert _row(text.partition("Transfer, %")[2], "generalist") == ["25.0 [11.2, 46.9]", "-"], "its cells are wrong"
    matrix = [line.split(" | ")[0] for line in text.partition("Transfer, %")[2].splitlines() if line.startswith("| ")]
    assert matrix[2:4] == ["| linf", "| generalist"], "sources are in another order than the models"
    for form in (page, shown):
        for said in ("sharpness", "0.0312", "How far they spread", "median", "Transfer, %: fooled", "25.0"):
            assert said in form, f"{said!r} is missing"


def test_a_column_of_two_metrics_of_one_table_names_its_metric() -> None:
    found = sample_results(
        [count("other", "clean", "generalist", 7)], metrics=[*METRICS, MetricUsed(name="other", table="")]
    )
    assert "| model | clean (clean) | linf:8/255 | l1:12 | union | clean (other) | sanity |" in markdown(found), (
        "two columns of one name are not told apart"
    )


def test_models_without_a_threat_model_show_a_dash() -> None:
    found = sample_results(model_scores("third", 18, {"linf:8/255": 12}, 2))
    assert _row(markdown(found), "third")[2] == "-", "a missing figure is not shown as missing"
    assert _row(markdown(sample_results([count("clean", "clean", "third", 0, 0)])), "third")[0] == "-", (
        "a share of no sample is shown as a figure"
    )


def test_results_of_schema_1_have_their_report() -> None:
    found = read_results(SCHEMA_1 / "evaluation")
    text = markdown(found)
    assert "Attacks not recorded: results of schema 1." in text, "nothing says that the attacks are not known"
    assert "| model | clean | linf:0.1 | l2:0.5 | union | 8-bit | sanity |" in text, "the columns are others"
    assert [cell.split()[0] for cell in _row(text, "one (EMA)")] == ["20.0", "15.0", "18.3", "15.0", "16.7", "fail"], (
        "the averaged weights have other figures than in their own report"
    )
    assert _row(text, "mean of 2 scored")[0] == "61.7", "the mean of the scored peers is another"
    assert "Accuracy by radius, %:\n\n| model | linf:0.05 | linf:0.1 |" in text, "the radii are missing"
    assert "- best one: fail, black box: linf:0.1: Square, which leaves" in text, "the reasons are missing"
    assert "Checkpoint last is the same as best: epoch 2" in text, "one epoch is shown twice"


_METRICS = [
    {"epoch": 1, "step": 3, "peers": {"linf": {"loss": 9.0}}},
    {"epoch": 1, "lr": 0.1, "peers": {"linf": {"loss": 2.0, "terms": {"own": 1.5}}, "generalist": {"loss": 2.5}}},
    {"epoch": 2, "lr": 0.05, "peers": {"linf": {"loss": 1.0, "terms": {"own": 0.5}}, "generalist": {"loss": 1.5}}},
    {"epoch": 2, "peer": "linf", "validation": float("nan"), "union": 0.5, "alarm": True},
]


def test_curves_are_lines_of_peers_over_epochs() -> None:
    found = curves(_METRICS, ["linf", "generalist"])
    assert found["peers/loss"] == {"linf": [(1, 2.0), (2, 1.0)], "generalist": [(1, 2.5), (2, 1.5)]}, "losses got lost"
    assert found["lr"] == {"": [(1, 0.1), (2, 0.05)]}, "a value without a peer got lost"
    assert found["union"] == {"linf": [(2, 0.5)]}, "a record's `peer` does not name its line"
    assert set(found) == {"peers/loss", "peers/terms/own", "lr", "union"}, "steps, flags or NaN became curves"


def test_the_page_has_scores_training_configuration_and_commands() -> None:
    found = sample_results(experiment="<script>alert(1)</script>")
    page = html(found, _METRICS, config="Experiment.epochs = 2", commands=["matx run FILE"])
    assert page == html(found, list(_METRICS), config="Experiment.epochs = 2", commands=["matx run FILE"]), (
        "the page's bytes do not repeat"
    )
    assert "<script>alert" not in page, "a name was not escaped"
    drawn = _drawn(page)
    assert len(drawn) == 5, "bars of two checkpoints, and a chart for each value with two epochs"
    assert {(row["place"], row["series"]): row["value"] for row in drawn[0]}["clean", "generalist"] == 80.0, "a bar"
    losses = [(row["series"], row["x"], row["y"]) for row in drawn[2 + 1]]
    assert losses == [("linf", 1, 2.0), ("linf", 2, 1.0), ("generalist", 1, 2.5), ("generalist", 2, 1.5)], "its lines"
    assert page.count("<caption>Scores") == 2, "a checkpoint's table is missing"
    for said in ("Experiment.epochs = 2", "matx run FILE", "<summary><h2>Configuration</h2></summary>"):
        assert said in page, f"{said} is missing"


def test_a_chart_of_what_never_changes_is_left_out() -> None:
    page = html(sample_results(), [{"epoch": 1, "steps": 3, "lr": 0.1}, {"epoch": 2, "steps": 6, "lr": 0.1}])
    assert len(_drawn(page)) == 2, "what never changes, or counts steps, was drawn"


def test_peers_may_bear_the_names_of_records() -> None:
    record = {
        "epoch": 1,
        "train": {"train": {"loss": 1.0}, "union": {"loss": 2.0}},
        "validation": {"union": {"union": 0.5}},
    }
    found = curves([record], ["train", "union"])
    assert found == {
        "train/loss": {"train": [(1, 1.0)], "union": [(1, 2.0)]},
        "validation/union": {"union": [(1, 0.5)]},
    }, "a peer was taken for a record, or a record for a peer"


def test_metrics_come_back_and_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"epoch": 1}\n{"epoch": 2}\n')
    assert read_rows(file) == [{"epoch": 1}, {"epoch": 2}], "metrics do not come back"
    file.write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: not a JSON record"):
        read_rows(file)
    file.write_text("[]\n")
    with pytest.raises(RunError, match="got list, allowed: a JSON object"):
        read_rows(file)
