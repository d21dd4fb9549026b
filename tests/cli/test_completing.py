"""Completion: what a shell asks for a word, and what it is offered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from matx.cli import cli


def _offered(*words: str) -> list[str]:
    """What bash is offered for the last word."""
    asked = {"_MATX_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("matx", *words)), "COMP_CWORD": str(len(words))}
    done = CliRunner().invoke(cli, env=asked, prog_name="matx")
    return [line.partition(",")[2] for line in done.output.splitlines() if line]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "mine-1"
    run.mkdir(parents=True)
    (run / "config.gin").write_text("")
    (run / "resolved.json").write_text(json.dumps({"peers": {"linf": {}, "generalist": {}}}))
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "mat_own.gin").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["run", "mat_"], ["mat_own.gin", "mat_frozen", "mat_union"]),
        (["tune", "mat_u"], ["mat_union"]),
        (["check", "attacks.pg"], ["attacks.pgd", "attacks.pgd_topk"]),
        (["show", "Pe"], ["Peer"]),
        (["eval", "runs/"], ["runs/mine-1"]),
        (["compare", "./runs/m"], ["./runs/mine-1"]),
        (["report", "ru"], ["runs/mine-1"]),
        (["new", "a"], ["architecture", "attack", "augmentation"]),
        (["export", "zoo:"], ["zoo:mat_union"]),
        (["eval", "runs/mine-1", "--suite", "auto"], ["autoattack"]),
        (["eval", "runs/mine-1", "--peer", ""], ["linf", "generalist"]),
        (["export", "zoo:mat_union", "--peer", "l"], ["linf", "l2", "l1"]),
        (["export", "nothing", "--peer", ""], []),
        (["export", "zoo:nothing", "--peer", ""], []),
    ],
)
def test_a_word_is_completed(home: Path, words: list[str], wanted: list[str]) -> None:
    assert _offered(*words) == wanted, f"matx {' '.join(words)}<TAB>"


def test_the_line_of_the_readme_installs_it(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    line = next(
        line.strip() for line in (root / "README.md").read_text().splitlines() if "_MATX_COMPLETE=bash_source" in line
    )
    assert line == 'eval "$(_MATX_COMPLETE=bash_source matx)"', "the line for .bashrc"
    environment = {**os.environ, "_MATX_COMPLETE": "bash_source", "PYTHONPATH": str(root)}
    program = "import sys; sys.argv = ['matx']; from matx.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    if "Bash version" in done.stderr:
        pytest.skip("no bash of version 4.4 here")
    assert "complete -o nosort -F" in done.stdout, f"what bash is to read: {done.stdout}{done.stderr}"
