"""best.pt is not believed: figures are those of the epoch, seed and recipe that they are reported under."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_runs import QUICK

from matx.cli import main
from matx.runtime import checkpoint
from matx.runtime.folder import RunFolder

DEVICE = ["--device", "cpu"]


def trained(home: Path, name: str, *bindings: str) -> RunFolder:
    """A run of two epochs; its results are taken away, as if it had stopped before its evaluation."""
    (home / "quick.gin").write_text(QUICK)
    options = [part for binding in bindings for part in ("-s", binding)]
    assert main(["run", "quick.gin", "--out", name, *DEVICE, *options]) == 0, "the run ends well"
    folder = RunFolder(home / name)
    folder.results.unlink()
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        high = "optimizers.sgd.lr=30.0"  # the second epoch is worse than the first, or as bad
        for name, seed in (("one", 3), ("other", 4)):
            trained(home, name, f"Experiment.seed={seed}", high)
    return home


def epochs(folder: RunFolder) -> tuple[int, int]:
    last = checkpoint.load(folder.last).training
    return int(last["best"][0]), int(last["position"][0])


DAMAGE: dict[str, tuple[Callable[[RunFolder, RunFolder], object], str]] = {
    "gone": (lambda mine, other: mine.best.unlink(), "best.pt: "),
    "of another seed": (lambda mine, other: shutil.copy(other.best, mine.best), "(seed: 4 -> 3)"),
    "of another epoch": (lambda mine, other: shutil.copy(mine.last, mine.best), "got the state after epoch 2, allowed"),
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("command", ["resume", "eval"])
def test_another_best_is_refused(
    home: Path, runs: Path, capsys: pytest.CaptureFixture[str], case: str, command: str
) -> None:
    damage, said = DAMAGE[case]
    shutil.copytree(runs, home, dirs_exist_ok=True)
    mine, other = RunFolder(home / "one"), RunFolder(home / "other")
    assert epochs(mine) == (1, 2), "the best epoch is the last one, so that nothing is shown"
    damage(mine, other)
    asked = ["run", "--resume", "one"] if command == "resume" else ["eval", "one", "--out", "evaluated"]
    assert main([*asked, *DEVICE]) == 2, "it went on"
    shown = capsys.readouterr()
    assert said in shown.err, f"it does not say what is wrong: {shown.err}"
    assert "best.pt" in shown.err, f"it does not name the file: {shown.err}"
    assert not mine.results.exists(), "there are figures of another epoch, seed or recipe"
    assert not (home / "evaluated" / "results.json").exists(), "there are figures of another epoch, seed or recipe"


def test_the_own_best_is_evaluated(home: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs, home, dirs_exist_ok=True)
    assert main(["eval", "one", "--out", "evaluated", *DEVICE]) == 0, "the run's own checkpoints are refused"
    assert main(["run", "--resume", "one", *DEVICE]) == 0, "the run does not end"
