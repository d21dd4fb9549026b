"""`matx eval --sanity --transfer`: what is shown, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

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
    assert main([*words, "--no-ensemble", "--sanity", "--beside", str(run)]) == 0, "the evaluation failed"
    shown = capsys.readouterr().out
    findings = json.loads((out / "sanity.json").read_text(encoding="utf-8"))["findings"]["last"]
    for peer in ("one", "two"):
        checks = {finding["check"] for finding in findings[peer]}
        assert {"black box", "transfer", "more steps", "noise"} <= checks, f"searches are missing for {peer}: {checks}"
        assert f"sanity      last {peer}: " in shown, f"nothing is shown beside the score of {peer}"
    matrix = json.loads((out / "transfer.json").read_text(encoding="utf-8"))
    first, second = matrix["runs"].values()
    assert first == second, "a run beside itself has another matrix"
    assert set(first["last"]["threats"]["linf:0.1"]["fooled"]) == {"one", "two"}, "the matrix lacks a source"
    assert "means over pairs" in (out / "transfer.md").read_text(encoding="utf-8"), "the Markdown lacks the means"
    assert "the column answers the row's examples as the row does" in shown, "the matrix is not shown"


def test_sanity_needs_figures_a_norm(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--sanity", "--union-only"]) == 2, "scores without columns are doubted"
    assert "leave --union-only away" in capsys.readouterr().err, "the way out is not named"


def test_one_peer_has_nobody_to_transfer_to(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", str(run), "--peer", "one", "-n", "5", "--transfer", "--out", str(tmp_path / "one")]
    assert main(words) == 2, "a matrix of one peer is made"
    assert "at least two" in capsys.readouterr().err, "the sentence does not say how many peers it takes"
