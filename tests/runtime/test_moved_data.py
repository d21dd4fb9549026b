"""A run whose data moved is resumed and evaluated where the data lie now; other data are refused. By command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from isolation import isolated_plugins
from sample_runs import QUICK

from matx.cli import main
from matx.errors import MatxError
from matx.run import sweep

STOPPER = """
from dataclasses import dataclass
from pathlib import Path

import matx


@matx.attacks.register("stopper")
@dataclass(frozen=True, kw_only=True)
class Stopper:
    kind = "maximise"
    threat: matx.ThreatModel

    def __call__(self, given):
        if given.step == 4 and Path("stop").exists():
            raise KeyboardInterrupt
        return given.images
"""
MOVED = "datasets.npz.path='elsewhere/renamed.npz'"


@pytest.fixture
def stopped(home: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Path]:
    """A run that was stopped in the middle, beside one that was not; then its data moved."""
    np.savez(home / "data.npz", **_images())
    (home / "stopper.py").write_text(STOPPER)
    recipe = QUICK.replace("@datasets.digits()", "@datasets.npz()").replace(
        "Peer.attacks = [@attacks.pgd()]", "Peer.attacks = [@attacks.stopper()]"
    )
    (home / "npz.gin").write_text(
        "import stopper\n" + recipe + "datasets.npz.path = 'data.npz'\nattacks.stopper.threat = @ThreatModel()\n"
        "Experiment.checkpoint_every = 1\n"
    )
    command = ["run", "npz.gin", "--device", "cpu", "--plugin", "stopper.py", "--out"]
    with isolated_plugins():
        assert main([*command, "straight"]) == 0, capsys.readouterr().err
        (home / "stop").touch()
        assert main([*command, "run"]) == 130, "the run was not stopped"
        (home / "stop").unlink()
        (home / "elsewhere").mkdir()
        shutil.move(home / "data.npz", home / "elsewhere" / "renamed.npz")
        yield home


def _images() -> dict[str, np.ndarray]:
    draw, counts = np.random.default_rng(0), {"train": 200, "test": 30}
    images = {f"x_{part}": draw.integers(0, 256, (count, 8, 8, 1), np.uint8) for part, count in counts.items()}
    return images | {f"y_{part}": np.arange(count) % 3 for part, count in counts.items()}


def test_a_run_goes_on_where_its_data_lie_now(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--resume", "run"]) == 2, "a run without its data cannot go on"
    assert "data.npz" in capsys.readouterr().err, "what is missing is not named"
    assert main(["run", "--resume", "run", "-s", MOVED]) == 0, capsys.readouterr().err
    found, wanted = (json.loads((stopped / name / "results.json").read_text()) for name in ("run", "straight"))
    assert _without_name(found) == _without_name(wanted), "resumed on moved data the figures are others"
    capsys.readouterr()
    words = ["eval", "run", "-s", MOVED, "--no-sanity", "--out", "eval"]
    assert main(words) == 0, capsys.readouterr().err
    again = json.loads((stopped / "eval" / "results.json").read_text())
    clean = [
        [s["correct"] for s in found["scores"] if s["column"] == "clean" and s["model"] == "one"]
        for found in (again, wanted)
    ]
    assert clean[0] == clean[1] != [], "evaluated on moved data: other figures"


def _without_name(found: dict[str, object]) -> dict[str, object]:
    """Results without the name of the dataset, which is that of its file, and without the checksum over it."""
    found = {key: value for key, value in found.items() if key != "digest"}
    return json.loads(json.dumps(found).replace('"renamed"', '"data"'))


def test_other_data_are_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = dict(np.load(stopped / "elsewhere" / "renamed.npz"))
    other["x_train"][0, 0, 0, 0] ^= 1
    np.savez(stopped / "other.npz", **other)
    for words in (["run", "--resume", "run"], ["eval", "straight", "--no-sanity", "--out", "eval"]):
        assert main([*words, "-s", "datasets.npz.path='other.npz'"]) == 2, f"{words[0]} takes other images"
        said = capsys.readouterr().err
        assert "the images are not those of the start (train: " in said, said
        assert "last.pt" in said, f"it does not say what was trained on others: {said}"


def test_a_queue_knows_its_runs_where_data_moved(stopped: Path) -> None:
    shutil.copytree(stopped / "straight", stopped / "runs" / "npz-seed0")
    (one,) = sweep.plan(["npz.gin"], [MOVED], [0])
    assert one.finished, "the run is not known"
    with pytest.raises(MatxError, match=r"npz-seed0: holds a run of another experiment \(epochs: 2 -> 3\); allowed"):
        sweep.plan(["npz.gin"], [MOVED, "Experiment.epochs=3"], [0])
