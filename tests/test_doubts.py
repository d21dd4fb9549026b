"""What `matx eval` says beside scores: the sentinel's verdicts and the matrix of transfer; what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sample_runs import QUICK

from matx.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two peers, trained for two epochs on digits."""
    home = tmp_path_factory.mktemp("doubts")
    (home / "quick.gin").write_text(QUICK, encoding="utf-8")
    assert main(["run", str(home / "quick.gin"), "--out", str(home / "run"), "--device", "cpu"]) == 0, "no run to doubt"
    return home / "run"


def test_every_score_has_its_findings_and_peers_their_matrix(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "eval"
    words = ["eval", str(run), "--checkpoint", "last", "-n", "20", "--device", "cpu", "--out", str(out)]
    assert main([*words, "--no-ensemble", "--beside", str(run)]) == 0, "the evaluation failed"
    shown = capsys.readouterr().out
    stored = json.loads((out / "sanity.json").read_text(encoding="utf-8"))
    assert stored["effort"] == "quick", "scores are not doubted unless it is asked for"
    findings = stored["findings"]["last"]
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    for peer in ("one", "two"):
        checks = {finding["check"] for finding in findings[peer]}
        assert {"black box", "transfer", "more steps", "noise"} <= checks, f"searches are missing for {peer}: {checks}"
        verdict = results["peers"][peer]["sanity"]["verdict"]
        assert verdict in {finding["status"] for finding in findings[peer]}, f"the verdict on {peer} is nobody's"
        row = next(line for line in shown.splitlines() if line.startswith(f"│ {peer} "))
        assert verdict in row, f"nothing is shown beside the score of {peer}: {row}"
        assert stored["seconds"]["last"][peer] > 0, f"what the checks of {peer} cost is not kept"
    matrix = json.loads((out / "transfer.json").read_text(encoding="utf-8"))
    first, second = matrix["runs"].values()
    assert first == second, "a run beside itself has another matrix"
    assert set(first["last"]["threats"]["linf:0.1"]["fooled"]) == {"one", "two"}, "the matrix lacks a source"
    assert "means over pairs" in (out / "transfer.md").read_text(encoding="utf-8"), "the Markdown lacks the means"
    assert "the column answers the row's examples as the row does" in shown, "the matrix is not shown"


def test_doubts_are_kept_peer_by_peer_and_deepened(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "eval"
    words = ["eval", str(run), "--checkpoint", "last", "-n", "10", "--device", "cpu", "--out", str(out)]
    words += ["--no-ensemble", "--union-only"]
    assert main([*words, "--no-sanity"]) == 0, "an evaluation without doubts failed"
    assert "not checked" in capsys.readouterr().out, "scores that nobody doubted do not say so"
    assert not (out / "sanity.json").exists(), "they were doubted"
    assert main(words) == 0, "the same with doubts failed"
    shown = capsys.readouterr()
    assert "finished already" in shown.err, "the evaluation was begun anew"
    assert "not checked" not in shown.out, "doubts are not added to what is finished"
    file = out / "sanity.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    stored["findings"]["last"]["one"][0]["sentence"] = "kept"
    del stored["findings"]["last"]["two"]
    file.write_text(json.dumps(stored), encoding="utf-8")
    (out / "results.json").unlink()
    assert main(words) == 0, "stopped between two peers, it does not continue"
    again = json.loads(file.read_text(encoding="utf-8"))["findings"]["last"]
    assert again["one"][0]["sentence"] == "kept", "a peer was doubted twice"
    assert len(again["two"]) == len(again["one"]), "the other peer was not"
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
    both = json.loads((tmp_path / "both" / "results.json").read_text(encoding="utf-8"))
    with np.load(tmp_path / "both" / "flags.npz") as flags:
        assert {"last/one/union", "last-ema/one/union"} <= set(flags.files), "the flags of one of them are missing"
    assert main([*words, "--ema-only", "--out", str(tmp_path / "only")]) == 0, "averages alone failed"
    assert "averaged weights (EMA)" in capsys.readouterr().out, "they are not called so"
    only = json.loads((tmp_path / "only" / "results.json").read_text(encoding="utf-8"))
    assert only["peers"] == both["ema"]["peers"], "averages have other figures beside the weights than alone"
    assert only["ensemble"] == both["ema"]["ensemble"], "so has their ensemble"


def test_no_doubts_and_doubts_exclude_each_other(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--sanity", "full", "--no-sanity"]) == 2, "both are taken"
    assert "leave one of them away" in capsys.readouterr().err, "the way out is not named"


def test_one_peer_has_nobody_to_transfer_to(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", str(run), "--peer", "one", "-n", "5", "--transfer", "--out", str(tmp_path / "one")]
    assert main(words) == 2, "a matrix of one peer is made"
    assert "at least two" in capsys.readouterr().err, "the sentence does not say how many peers it takes"
