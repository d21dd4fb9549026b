"""Reports: the schema of results.json, tables that say the same as it, and bytes that depend on nothing else."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from rich.console import Console

from matx.errors import OptionError, RunError
from matx.measure import Flags, PeerScores
from matx.measure.sanity import Finding
from matx.report import (
    Results,
    Seconds,
    curves,
    html,
    markdown,
    put_verdicts,
    read_metrics,
    read_results,
    results,
    tables,
    write_results,
)


def _scores(clean: int, linf: int, l1: int) -> PeerScores:
    """Twenty images, of which the first so many stand."""
    image = torch.arange(20)
    threats = {"linf:8/255": image < linf, "l1:12": (image < clean) & (image >= clean - l1)}
    return PeerScores.of(Flags(clean=image < clean, threats=threats))


def _found() -> Results:
    return results(
        experiment="mat_union",
        dataset={"name": "digits", "split": "test", "n": 20},
        scored=["generalist"],
        best={"linf": _scores(18, 12, 3), "generalist": _scores(16, 10, 12)},
        best_epoch=7,
        last={"linf": _scores(19, 11, 3), "generalist": _scores(17, 9, 12)},
        last_epoch=10,
        passes={"forward": 25.0, "backward_input": 10.0, "backward_weights": 2.0},
    )


def test_schema_1_is_as_agreed() -> None:
    found = _found()
    head = {key: found[key] for key in ("schema", "experiment", "checkpoint", "dataset", "best_epoch")}
    assert head == {
        "schema": 1,
        "experiment": "mat_union",
        "checkpoint": "best",
        "dataset": {"name": "digits", "split": "test", "n": 20},
        "best_epoch": 7,
    }, "the head of results.json changed"
    peer = found["peers"]["generalist"]
    assert list(peer) == ["clean", "threats", "union"], "a peer's block has other keys"
    assert list(peer["threats"]) == ["linf:8/255", "l1:12"], "threat keys are not as written in the config"
    rows = [peer["clean"], peer["union"], *peer["threats"].values()]
    assert all(list(row) == ["accuracy", "low", "high", "n"] for row in rows), "a rate has other keys"
    assert peer["union"]["accuracy"] == 6 / 20, "images 4 to 9 stand under both threat models, nothing else"
    assert found["scored"] == {
        "peers": ["generalist"],
        "mean": {"clean": 16 / 20, "threats": {"linf:8/255": 10 / 20, "l1:12": 12 / 20}, "union": 6 / 20},
    }, "the scored peers and their mean are wrong"
    assert found["last"]["checkpoint"] == "last", "the block of the last checkpoint does not say so"
    assert found["last"]["peers"]["generalist"]["clean"]["accuracy"] == 17 / 20, "the last block is another's"


def test_mean_is_over_scored_peers() -> None:
    scores = {"a": _scores(10, 4, 2), "b": _scores(20, 8, 2)}
    found = results(experiment="x", dataset={}, scored=["a", "b"], best=scores, best_epoch=1)
    assert found["scored"]["mean"]["clean"] == pytest.approx(0.75), "the mean over the scored peers is wrong"
    with pytest.raises(OptionError, match="got 'c', allowed: a, b"):
        results(experiment="x", dataset={}, scored=["c"], best=scores, best_epoch=1)


def test_results_round_trip_and_bytes_repeat(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", _found())
    first = (tmp_path / "results.json").read_bytes()
    assert read_results(tmp_path) == _found(), "a run folder's results do not come back"
    write_results(tmp_path / "results.json", read_results(tmp_path / "results.json"))
    assert (tmp_path / "results.json").read_bytes() == first, "writing what was read gave other bytes"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"], "a partial file was left behind"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is not there"),
        ("not json", "cannot be read as JSON"),
        ("[]", "got results of schema None, allowed: 1"),
        ('{"schema": 2}', "got results of schema 2, allowed: 1"),
        ('{"schema": true}', "got results of schema True, allowed: 1"),
        ('{"schema": 1, "experiment": "x"}', "checkpoint, dataset, peers missing"),
    ],
)
def test_foreign_results_are_refused_in_one_sentence(tmp_path: Path, content: str | None, sentence: str) -> None:
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RunError, match=r"results\.json") as refused:
        read_results(file)
    assert sentence in str(refused.value), "the refusal does not say what is wrong"
    assert "\n" not in str(refused.value), "the refusal is more than one line"


def test_markdown_says_what_results_say() -> None:
    text = markdown(_found())
    assert text == markdown(json.loads(json.dumps(_found()))), "the report depends on more than results.json"
    lines = text.splitlines()
    assert "| peer | clean | linf:8/255 | l1:12 | union | sanity |" in lines, (
        "the columns are not clean, threats, union"
    )
    row = next(line for line in lines if line.startswith("| generalist |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [cell.split()[0] for cell in cells[1:]] == ["80.0", "50.0", "60.0", "30.0", "not"], (
        "a figure differs from results"
    )
    assert cells[1] == "80.0 [58.4, 91.9]", "a figure stands without its interval"
    assert lines.index("## Checkpoint best, epoch 7") < lines.index("## Checkpoint last, epoch 10"), (
        "a block is missing"
    )
    assert "forward 25.0, backward input 10.0, backward weights 2.0" in text, "the passes are not reported"


def _printed(found: Results, seconds: Seconds | None = None) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    for one in tables(found, seconds):
        console.print(one)
    return console.export_text()


def test_terminal_tables_show_peers_with_intervals() -> None:
    shown = _printed(_found())
    assert all(title in shown for title in ("peer", "clean", "linf:8/255", "l1:12", "union")), "a column is missing"
    assert "80.0 [58.4, 91.9]" in shown, "a figure or its interval is missing"
    assert "checkpoint best, epoch 7" in shown, "the table does not say whose figures it shows"
    assert "85.0 [" in shown.partition("checkpoint last")[2], "the table of the last checkpoint is missing"
    same = _found() | {"best_epoch": 10}
    assert "checkpoint last is the same: epoch 10" in _printed(same), "one epoch is shown twice"


def _doubted() -> Results:
    """The generalist is fooled in l1 alone; nobody doubted the other peer, nor the checkpoint last."""
    found = _found()
    general = Finding(check="logits", status="pass", sentence="logits are fine", value=0.0)
    masked = Finding(check="black box", status="fail", sentence="l1:12: Square breaks 9", value=0.4, threat="l1:12")
    put_verdicts(found)
    put_verdicts(found, {"best": {"generalist": (general, masked)}}, "quick")
    return found


def test_a_verdict_stands_beside_every_score() -> None:
    found = _doubted()
    assert found["peers"]["generalist"]["sanity"] == {
        "effort": "quick",
        "verdict": "fail",
        "threats": {"linf:8/255": "pass", "l1:12": "fail"},
        "because": ["fail, black box: l1:12: Square breaks 9"],
    }, "results.json does not say what was found"
    assert found["last"]["peers"]["generalist"]["sanity"] == {"verdict": "not checked"}, (
        "an unchecked score says nothing"
    )
    cells = next(line for line in markdown(found).splitlines() if line.startswith("| generalist |")).split(" | ")
    assert [cell.split()[-1] for cell in cells[2:4]] == ["pass", "fail"], "a score has no verdict beside it"
    assert cells[-1].strip(" |") == "fail", "the row's verdict is not the gravest"
    for text in (markdown(found), html(found), _printed(found)):
        assert "not checked" in text, "a score that was not checked does not say so"
    assert "best generalist: fail, black box: l1:12: Square breaks 9" in markdown(found), "the reason is not given"
    assert '<span class="fail">fail</span>' in html(found), "the page does not mark what fails"


def _block(*names: str) -> dict[str, object]:
    return {"peers": {name: _scores(15, 9, 2).row() for name in names}, "scored": {"peers": [], "mean": {}}}


def test_averages_stand_beside_the_weights_that_they_average() -> None:
    found = _found()
    found["ema"] = _block("generalist")
    put_verdicts(found, {"best-ema": {"generalist": ()}}, "full")
    lines = [line.split(" | ")[0] for line in markdown(found).splitlines() if line.startswith("| ")]
    assert lines[:5] == ["| peer", "| ---", "| linf", "| generalist", "| generalist (EMA)"], f"the rows are {lines}"
    assert found["ema"]["peers"]["generalist"]["sanity"]["verdict"] == "pass", "averages have no verdict of their own"
    alone = _found() | {"weights": "ema"}
    assert "averaged weights (EMA)" in markdown(alone), "averages alone are not called so"


def test_seconds_are_shown_with_their_sums() -> None:
    spent = {"best": {"linf": {"clean": 0.5, "linf:8/255": 2.0, "all": 2.5, "sanity": 1.0}}}
    lines = markdown(_found(), spent).splitlines()
    assert "| peer | clean | linf:8/255 | total | sanity |" in lines, "seconds are not shown by threat model"
    assert "| linf | 0.5 | 2.0 | 2.5 | 1.0 |" in lines, "a peer's seconds are wrong"
    assert "| all | 0.5 | 2.0 | 2.5 | 1.0 |" in lines, "their sums are wrong"
    assert "Seconds" not in markdown(_found()), "a run's report, which repeats byte for byte, holds seconds"


def test_radii_have_a_table_and_a_chart_a_norm() -> None:
    found = _found()
    row = [
        {"eps": eps, "accuracy": share, "low": 0.0, "high": 1.0, "n": 20}
        for eps, share in (("2/255", 0.7), ("4/255", 0.6))
    ]
    found["grid"] = {"generalist": {"linf": row}}
    text = markdown(found)
    assert "| peer | 2/255 | 4/255 |" in text, "the radii are no columns"
    assert "| generalist | 70.0 [0.0, 100.0] | 60.0 [0.0, 100.0] |" in text, "a figure stands without its interval"
    assert "accuracy by radius in linf, %" in html(found).partition("<svg")[2], "the page draws no curve"


def test_peers_without_a_threat_model_show_a_dash() -> None:
    found = _found()
    del found["peers"]["linf"]["threats"]["l1:12"]
    assert "| - |" in markdown(found), "a missing figure is not shown as missing"


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


def test_page_is_self_contained_and_well_formed() -> None:
    found = _found()
    found["experiment"] = "<script>alert(1)</script>"
    page = html(found, _METRICS)
    assert page == html(found, list(_METRICS)), "the page's bytes do not repeat"
    assert "<script>" not in page, "a name was not escaped"
    assert "http" not in page, "the page fetches something"
    tree = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n").replace('<meta charset="utf-8">', ""))
    charts = tree.findall(".//svg")
    assert len(charts) == 3, "not every metric with two epochs has its chart"
    assert [len(chart.findall("polyline")) for chart in charts] == [1, 2, 1], "a peer's line is missing"
    assert len(tree.findall(".//table")) == 2, "a checkpoint's table is missing"


def test_a_chart_without_news_is_left_out() -> None:
    page = html(_found(), [{"epoch": 1, "steps": 3, "lr": 0.1}, {"epoch": 2, "steps": 6, "lr": 0.1}])
    assert "<svg" not in page, "what never changes, or counts steps, was drawn"


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
    assert read_metrics(file) == [{"epoch": 1}, {"epoch": 2}], "metrics do not come back"
    file.write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: not a JSON record"):
        read_metrics(file)
    file.write_text("[]\n")
    with pytest.raises(RunError, match="got list, allowed: a JSON object"):
        read_metrics(file)
