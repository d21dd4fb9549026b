"""The zoo: every entry loads, is what its card says, and travels in the wheel."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import matx
from matx.evaluation import find_exported, target_of_exported

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = sorted(path.parent.name for path in (ROOT / "matx" / "zoo").glob("*/model.json"))
_FILES = {"README.md", "config.gin", "model.json", "results.json"}


def test_there_are_entries() -> None:
    assert "mat_union" in ENTRIES, f"the README's run is in the zoo: {ENTRIES}"


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_right_as_often_as_its_results_say(name: str) -> None:
    began = time.process_time()
    zoo = matx.load(f"zoo:{name}")
    models = {peer: zoo.peer(peer) for peer in zoo.peers}
    assert time.process_time() - began < 10, "an entry loads at once"
    test = zoo.experiment.dataset().test
    images, labels = test.read(torch.arange(len(test.labels))), test.labels
    shown = ("clean", zoo.results.checkpoint_of("best"), "raw")
    clean = {s.model: s for s in zoo.results.scores if (s.column, s.checkpoint, s.weights) == shown}
    for peer, model in models.items():
        with torch.no_grad():
            right = model(images).argmax(1) == labels
        assert int(right[: clean[peer].n].sum()) == clean[peer].correct, f"{peer} is not the network that was scored"


@pytest.mark.parametrize("name", ENTRIES)
def test_a_card_shows_the_figures_beside_it(name: str) -> None:
    zoo = matx.load(f"zoo:{name}")
    card = (zoo.path / "README.md").read_text(encoding="utf-8")
    shown = zoo.results.checkpoint_of("best")
    scores = [s for s in zoo.results.scores if (s.checkpoint, s.weights) == (shown, "raw") and s.correct is not None]
    assert {s.model for s in scores} >= set(zoo.peers), "every peer has figures"
    for score in scores:
        if score.model in zoo.peers and score.source is None:
            cell = f"{100 * score.value:.1f} [{100 * (score.low or 0):.1f}, {100 * (score.high or 0):.1f}]"
            row = next(line for line in card.splitlines() if re.match(rf"\| {score.model} \|", line))
            assert cell in row, f"{score.model} {score.column}: {cell} is not in {row}"
    assert zoo.results.effort, "the sanity checks have seen the figures"
    for reason in zoo.results.reasons:
        assert f"{reason.status}, {reason.check}" in card, "the card says what did not pass"
    code = re.findall(r"```python\n(.*?)```", card, flags=re.S)
    assert len(code) == len(zoo.peers), "each peer's loading is shown"
    assert all(f'matx.load("zoo:{name}")' in block for block in code), "by the address that works anywhere"


def test_the_command_scores_an_entry(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "matx", "eval", "zoo:mat_union", "--peer", "generalist", "-n", "40", "--no-sanity"]
    command += ["--suite", "pgd", "--json", "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["results"]["scores"]
    zoo = matx.load("zoo:mat_union")
    test = zoo.experiment.dataset().test
    with torch.no_grad():
        right = zoo.peer("generalist")(test.read(torch.arange(40))).argmax(1) == test.labels[:40]
    (clean,) = [row for row in scores if row["column"] == "clean"]
    assert (clean["checkpoint"], clean["weights"]) == ("best", "raw"), "under what was exported"
    assert (clean["correct"], clean["n"]) == (int(right.sum()), 40), "the command scores the network of the zoo"
    (union,) = [row for row in scores if row["column"] == "union"]
    assert 0 < union["correct"] < 40, f"PGD breaks some of 40 images and not all: {union['correct']}"


def test_an_entry_is_evaluated_as_what_was_exported() -> None:
    folder, shown = find_exported("zoo:mat_union"), matx.load("zoo:mat_union").results
    assert folder is not None, "the entry is an export"
    target = target_of_exported(folder, ["l1", "generalist"], "cpu", ensemble=False)
    assert list(target.states) == [("best", "raw")], "its weights keep their names"
    assert (target.epochs, target.passes) == ({"best": shown.epochs["best"]}, shown.passes), "and their origin"
    assert list(target.scored) == [peer for peer in shown.scored if peer in target.modules], "the run's peers count"
    assert list(target.models(next(iter(target.states)))) == ["l1", "generalist"], "no ensemble where none is asked"


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_whole_small_and_says_nothing_of_where_it_was_made(name: str) -> None:
    folder = ROOT / "matx" / "zoo" / name
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    files = {file.name for file in folder.iterdir()}
    assert files == _FILES | set(about["peers"].values()), "weights, recipe, figures, card, and nothing else"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2_000_000, "the zoo travels with every install"
    for file in _FILES:
        assert "/home/" not in (folder / file).read_text(encoding="utf-8"), f"{file} names a place on a machine"
        assert "/work/" not in (folder / file).read_text(encoding="utf-8"), f"{file} names a place on a machine"
