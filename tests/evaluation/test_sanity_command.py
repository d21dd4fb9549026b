"""What `matx eval` says beside scores: verdicts of sanity checks and the matrix of transfer; what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sample_runs import QUICK
from scored import scores

from matx.cli import main
from matx.results import read_flags, read_results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two peers, trained for two epochs on digits."""
    home = tmp_path_factory.mktemp("sanity")
    (home / "quick.gin").write_text(QUICK, encoding="utf-8")
    assert main(["run", str(home / "quick.gin"), "--out", str(home / "run"), "--device", "cpu"]) == 0, "no run to check"
    return home / "run"


def test_every_score_has_its_findings_and_peers_their_matrix(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "eval"
    words = ["eval", str(run), "--checkpoint", "last", "-n", "20", "--device", "cpu", "--out", str(out)]
    assert main([*words, "--no-ensemble", "--beside", str(run), "--metric", "transfer"]) == 0, "the evaluation failed"
    shown = capsys.readouterr().out
    stored = json.loads((out / "sanity.json").read_text(encoding="utf-8"))
    assert stored["effort"] == "quick", "scores are not checked unless it is asked for"
    found = {(row["checkpoint"], row["model"]): row for row in stored["models"]}
    for peer in ("one", "two"):
        findings = found["last", peer]["findings"]
        checks = {finding["check"] for finding in findings}
        assert {"black box", "transfer", "more steps", "noise"} <= checks, f"searches are missing for {peer}: {checks}"
        verdict = scores(out)[peer, "union"].sanity
        assert verdict in {finding["status"] for finding in findings}, f"the verdict on {peer} is nobody's"
        row = next(line for line in shown.splitlines() if line.startswith(f"│ {peer} "))
        assert verdict in row, f"nothing is shown beside the score of {peer}: {row}"
        assert found["last", peer]["seconds"] > 0, f"what the checks of {peer} cost is not kept"
    first, second = (
        [score for score in read_results(file).scores if score.source is not None]
        for file in (out / "results.json", out / "beside.json")
    )
    assert first == second, "a run beside itself has another matrix"
    pairs = {(score.source, score.model) for score in first if score.column == "fooled under linf:0.1"}
    assert pairs == {(a, b) for a in ("one", "two") for b in ("one", "two")}, "the matrix lacks a pair"
    assert "fooled under linf:0.1" in shown, "the matrix is not shown"
    alike = {(score.source, score.model) for score in first if (score.metric, score.column) == ("agreement", "clean")}
    assert alike == {("one", "two"), ("two", "one")}, "how alike the peers answer is left out"
    assert "Agreement" in shown, "how alike the peers answer is not shown"


def test_findings_are_kept_model_by_model_and_deepened(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "eval"
    words = ["eval", str(run), "--checkpoint", "last", "-n", "10", "--device", "cpu", "--out", str(out)]
    words += ["--no-ensemble", "--union-only"]
    assert main([*words, "--no-sanity"]) == 0, "an evaluation without checks failed"
    assert "not checked" in capsys.readouterr().out, "scores that nobody checked do not say so"
    assert not (out / "sanity.json").exists(), "they were checked"
    assert main(words) == 0, "the same with checks failed"
    shown = capsys.readouterr()
    assert "finished already" in shown.err, "the evaluation was begun anew"
    assert "not checked" not in shown.out, "checks are not added to what is finished"
    file = out / "sanity.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert [row["model"] for row in stored["models"]] == ["one", "two"], "a model was not checked"
    stored["models"][0]["findings"][0]["sentence"] = "kept"
    del stored["models"][1]
    file.write_text(json.dumps(stored), encoding="utf-8")
    (out / "results.json").unlink()
    assert main(words) == 0, "stopped between two peers, it does not continue"
    one, two = (row["findings"] for row in json.loads(file.read_text(encoding="utf-8"))["models"])
    assert one[0]["sentence"] == "kept", "a model was checked twice"
    assert len(two) == len(one), "the other model was not"
    assert main([*words, "--sanity", "full"]) == 0, "more effort failed"
    assert json.loads(file.read_text(encoding="utf-8"))["effort"] == "full", "it was not made"
    assert main(words) == 0, "the same without saying how hard failed"
    assert json.loads(file.read_text(encoding="utf-8"))["effort"] == "full", "what is known was replaced by less"


def test_a_run_without_best_is_told_of_last(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.pt").unlink()
    assert main(["eval", str(tmp_path / "run"), "--device", "cpu"]) == 2, "a checkpoint that is not there is evaluated"
    assert "best.pt: no such checkpoint; allowed: --checkpoint last" in capsys.readouterr().err, "last is not named"


def test_averages_are_rows_beside_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "quick.gin").write_text(QUICK + "Peer.ema = 0.9\n", encoding="utf-8")
    short = ["-s", "Experiment.epochs=1", "-s", "Experiment.train_limit=50"]
    out = str(tmp_path / "run")
    assert main(["run", str(tmp_path / "quick.gin"), "--out", out, "--device", "cpu", *short]) == 0, (
        "no run to evaluate"
    )
    words = ["eval", out, "-n", "8", "--device", "cpu", "--no-sanity", "--checkpoint", "last"]
    capsys.readouterr()
    assert main([*words, "--ema", "--out", str(tmp_path / "both")]) == 0, "weights and averages together failed"
    shown = capsys.readouterr().out
    assert all(f"│ {name} " in shown for name in ("one", "one (EMA)", "ensemble", "ensemble (EMA)")), "a row is missing"
    assert "Seconds" in shown, "what it cost is not shown"
    flags = {(column.weights, column.model, column.column) for column in read_flags(tmp_path / "both")}
    assert {("raw", "one", "union"), ("ema", "one", "union")} <= flags, "the flags of one of them are missing"
    assert main([*words, "--ema-only", "--out", str(tmp_path / "only")]) == 0, "averages alone failed"
    assert "│ one (EMA) " in capsys.readouterr().out, "they are not called so"
    only, both = (scores(tmp_path / name, weights="ema") for name in ("only", "both"))
    assert only == both, "averages have other figures beside the weights than alone"


def test_checks_and_no_checks_exclude_each_other(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--sanity", "full", "--no-sanity"]) == 2, "both are taken"
    assert "leave one of them away" in capsys.readouterr().err, "the way out is not named"


def test_one_peer_has_nobody_to_transfer_to(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", str(run), "--peer", "one", "-n", "5", "--transfer", "--out", str(tmp_path / "one")]
    assert main(words) == 2, "a matrix of one peer is made"
    assert "at least two" in capsys.readouterr().err, "the sentence does not say how many peers it takes"
