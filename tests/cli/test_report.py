"""`matx report` and the page of a comparison: made anew from what a folder holds."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from matx import compare as comparing
from matx.cli import main
from matx.config import load_experiment
from matx.run import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two methods of two seeds each."""
    home = tmp_path_factory.mktemp("runs")
    found = []
    for method, alpha in (("a", 0.5), ("b", 0.9)):
        for seed in (0, 1):
            bindings = [f"Experiment.seed={seed}", f"strategies.specialists.alpha={alpha}"]
            loaded = replace(load_experiment(["smoke"], bindings), name=f"smoke_{method}")
            found.append(run(loaded, out=home / f"{method}-{seed}", device="cpu").path)
    return found


def _specs(page: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]


def test_reports_are_made_anew_as_they_were(runs: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(runs[0], copy)
    before = {name: (copy / name).read_bytes() for name in ("report.md", "report.html")}
    for name in before:
        (copy / name).unlink()
    assert main(["report", str(copy)]) == 0, "a finished run has its reports made"
    for name, content in before.items():
        assert (copy / name).read_bytes() == content, f"{name} is not what the run wrote"


def test_half_a_run_has_a_page_of_its_training(runs: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(runs[0], copy)
    for name in ("results.json", "report.html", "report.md"):
        (copy / name).unlink()
    assert main(["report", str(copy)]) == 0, "a run without results has a page, too"
    page = (copy / "report.html").read_text(encoding="utf-8")
    assert "Not finished: 2 epochs are done" in page, "the page says that nothing was scored"
    assert [spec for spec in _specs(page) if "layer" in spec], "the page draws the training"
    assert not (copy / "report.md").exists(), "there are no scores to write down"


def test_what_is_no_folder_of_ours_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    refused = {"none": "no such run folder", "empty": "not a run folder", "file": "got a file, allowed: a run folder"}
    for path, said in ((tmp_path / name, said) for name, said in refused.items()):
        assert main(["report", str(path)]) == 2, f"{path} is refused"
        assert said in capsys.readouterr().err, f"the sentence says {said!r}"


def test_a_comparison_has_a_page(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, runs), "--format", "html"]) == 0, "a comparison is a page, too"
    page = capsys.readouterr().out
    found = comparing.compare(runs)
    (name,) = found.differences
    rows = [row for spec in _specs(page) for row in spec["data"]["values"] if row.get("series") == "bootstrap"]
    drawn = {row["place"]: (row["low"], row["value"], row["high"]) for row in rows}
    for difference in found.differences[name]:
        if difference.bootstrap is not None and difference.column in drawn:
            expected = [100 * x for x in (difference.bootstrap.low, difference.mean, difference.bootstrap.high)]
            assert drawn[difference.column] == pytest.approx(expected), (
                f"{difference.column} is drawn as it is compared"
            )
    assert "union" in drawn, "the union's difference is drawn"
    assert {row.get("line") for spec in _specs(page) for row in spec["data"]["values"]} >= {"seed 0", "seed 1"}, (
        "every run's curve is drawn"
    )
