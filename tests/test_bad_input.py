"""Bad input through the command line: one clear sentence, exit code 2, no traceback, nothing written or overwritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_runs import QUICK

from matx.cli import main
from matx.runtime.files import read_torch, write_torch

HARMLESS = "__pycache__"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never evaluated: its results are taken away."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "quick.gin").write_text(QUICK)
    short = ["-s", "Experiment.epochs=1", "-s", "Experiment.train_limit=100", "-s", "Evaluation.images=4"]
    code = main(["run", str(folder / "quick.gin"), "--out", str(folder / "run"), "--device", "cpu", *short])
    assert code == 0, "the run ends well"
    (folder / "run" / "results.json").unlink()
    return folder / "run"


def files(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and HARMLESS not in p.parts}


def refused(home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """What is said where this is refused, and only refused."""
    before, folders = files(home), {path for path in home.rglob("*") if path.is_dir() and path.name != HARMLESS}
    assert main(arguments) == 2, "bad input ends with exit code 2"
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err, "no traceback is shown"
    assert "defect" not in shown.err, "bad input is not taken for a defect"
    assert files(home) == before, "no file was written or overwritten"
    after = {path for path in home.rglob("*") if path.is_dir() and path.name != HARMLESS}
    assert after == folders, "no folder is left behind"
    return shown.err + shown.out


RUN = ["run", "quick.gin", "--device", "cpu"]
WORDS = [
    (["run"], "Missing argument"),
    (["run", "--nonsense"], "No such option"),
    (["nonsense"], "No such command"),
    (["run", "nowhere.gin"], "no such file"),
    (["run", "qick.gin"], "did you mean 'quick.gin'"),
    (["run", "quick.gin", "-s", "attacks.pgd.stepz=3"], "did you mean 'steps'"),
    (["run", "quick.gin", "-s", "attacks.pgd.steps='many'"], "attacks.pgd.steps"),
    (["run", "quick.gin", "-s", "nonsense"], "nonsense"),
    (["run", "quick.gin", "-s", "Evaluation.scored=['tow']"], "did you mean 'two'"),
    (["run", "quick.gin", "--device", "quantum"], "allowed here: auto, cpu"),
    (["run", "quick.gin", "--seed", "-1"], "Invalid value for '--seed'"),
    (["run", "quick.gin", "--dry-run", "--out", "taken"], "exists already"),
    (["run", "quick.gin", "--plugin", "nowhere.py"], "no such file"),
    (["run", "quick.gin", "--plugin", "empty.py"], "registers nothing"),
    (["run", "quick.gin", "-s", "Experiment.dataset=@datasets.npz()", "-s", "datasets.npz.path='no.npz'"], "no.npz"),
    (["run", "--resume", "nowhere"], "no such run folder"),
    (["run", "--resume", "taken"], "not a run folder"),
    (["run", "--resume", "taken", "--dry-run"], "leave --out and --dry-run away"),
    (["eval", "nowhere"], "no such run folder"),
    (["eval", "taken", "--checkpoint", "third"], "is not one of"),
    (["list", "atacks"], "did you mean 'attacks'"),
    (["show", "attacks.pdg"], "did you mean 'pgd'"),
    (["show", "atacks.pgd"], "did you mean 'attacks'"),
    (["show", "attacks.pgd", "-s", "a=1"], "belongs to a gin file"),
    (["check", "attacks.pdg"], "did you mean 'pgd'"),
    (["check", "quick.gin", "-s", "Experiment.epochs=0"], "Experiment.epochs"),
    (["show", "pgd"], "did you mean 'attacks.pgd'"),
    (["show", "Experimnt"], "did you mean 'Experiment'"),
    (["show", "attacks"], "`matx list attacks` shows them"),
    (["check", "Experiment"], "`matx show Experiment` shows it"),
    (["check", "mat_unoin"], "did you mean 'mat_union'"),
    ([*RUN, "-s", ""], "allowed: NAME.PARAMETER=VALUE"),
    ([*RUN[:2], "--device", ""], "allowed here: auto, cpu"),
    ([*RUN, "--out", "quick.gin/below"], "nothing can be written in quick.gin"),
    ([*RUN, "--out", "x" * 300], "cannot be made"),
    ([*RUN, "--out", "taken"], "--out: taken exists already, allowed: a folder that does not"),
    ([*RUN, "--plugin", "notes.txt"], "plug-in notes.txt: not importable, allowed: a .py file"),
    ([*RUN, "--plugin", "taken"], "plug-in taken: not importable"),
    ([*RUN, "--plugin", "slip.py"], "slip.py:2)"),
    (["run", "folder.gin"], "folder.gin:1: is a folder; "),
]


@pytest.mark.parametrize(("arguments", "said"), WORDS, ids=[said for _, said in WORDS])
def test_refused(home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    for folder in ("taken", "folder.gin"):
        (home / folder).mkdir()
    (home / "taken" / "precious.txt").write_text("mine")
    (home / "notes.txt").write_text("notes")
    (home / "empty.py").write_text("x = 1\n")
    (home / "slip.py").write_text("import matx\ndef f(:\n")
    found = refused(home, capsys, arguments)
    assert said in found, f"the sentence names the matter: {found}"


def test_the_folder_of_runs_is_a_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "runs").write_text("mine")
    assert "nothing can be written in runs" in refused(home, capsys, RUN), "it is found before anything is built"


def test_recipes_in_folders_are_counted_not_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(home, capsys, ["run", "zzz.gin"])
    assert "mat_union" in found, "the recipes of the top are named"
    assert "suites/pgd" not in found, "those of folders are not"
    assert "in suites/" in found, "they are counted"


def arrays(classes: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 8, 8, 1), np.uint8), np.arange(40) % classes
    return {"x_train": images, "y_train": labels, "x_test": 255 - images, "y_test": labels}


def on_arrays(home: Path, content: Mapping[str, Any], *lines: str) -> None:
    np.savez(home / "few.npz", **content)
    text = QUICK.replace("@datasets.digits()", "@datasets.npz()").replace("Experiment.train_limit = 150\n", "")
    (home / "quick.gin").write_text("\n".join([text, "datasets.npz.path = 'few.npz'", *lines]))


@pytest.mark.parametrize(("objective", "classes", "needed"), [("dlr", 2, 3), ("targeted_dlr", 3, 4)])
@pytest.mark.parametrize("verb", ["check", "run"])
def test_too_few_classes_for_an_objective_are_found_before_training(
    home: Path, capsys: pytest.CaptureFixture[str], verb: str, objective: str, classes: int, needed: int
) -> None:
    lines = ["attacks.apgd.threat = @ThreatModel()", f"attacks.apgd.objective = '{objective}'"]
    on_arrays(home, arrays(classes), *lines)
    text = (home / "quick.gin").read_text().replace("[@test/attacks.pgd()]", "[@test/attacks.pgd(), @attacks.apgd()]")
    (home / "quick.gin").write_text(text)
    found = refused(home, capsys, [verb, "quick.gin"])
    assert f"Evaluation.attacks[1]: objective {objective!r}: got {classes} classes" in found, found
    assert f"at least {needed}" in found, found


def test_test_images_of_another_size_are_found_before_training(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on_arrays(home, arrays(3) | {"x_test": np.zeros((40, 7, 7, 1), np.uint8)})
    assert "images of x_test are (1, 7, 7) (C, H, W), those of x_train are (1, 8, 8)" in refused(home, capsys, RUN)


def test_a_plug_in_without_examples_fails_its_check(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from isolation import isolated_plugins

    (home / "bare_one.py").write_text(
        'import matx\nfrom dataclasses import dataclass\n@matx.attacks.register("bare_one")\n'
        '@dataclass(frozen=True, kw_only=True)\nclass Bare:\n    """Bare."""\n'
    )
    with isolated_plugins():
        found = refused(home, capsys, ["check", "attacks.bare_one", "--plugin", "bare_one.py"])
    assert "attacks.bare_one lacks what its kind needs; add to the class: kind: ClassVar" in found, found
    assert "@classmethod / def examples(cls, tmp_path: Path) -> Sequence[Self]: return [cls()]" in found, found
    assert "bare_one.py:3)" in found, f"the place of the class is not told: {found}"


def cut(name: str, length: int) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).write_bytes((run / name).read_bytes()[:length])

    return damage


def written(name: str, text: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).write_text(text)

    return damage


def stored(**changes: Any) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        last = run / "checkpoints" / "last.pt"
        write_torch(last, read_torch(last)[0] | changes)

    return damage


def garbled(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text("!" + lines[1:])


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "last.pt cut": (cut("checkpoints/last.pt", 1000), "damaged, or not a checkpoint"),
    "last.pt empty": (cut("checkpoints/last.pt", 0), "damaged, or not a checkpoint"),
    "last.pt of other parts": (stored(provenance={}), "its parts are not those that matx writes"),
    "last.pt without learners": (stored(training={}), "damaged: what it holds does not fit"),
    "last.pt of another schema": (stored(schema=99), "got a checkpoint of schema 99, allowed: 1 and 2"),
    "environment.json of nothing": (written("environment.json", "{}"), "holds no experiment, device, plugins"),
    "environment.json a list": (written("environment.json", "[]"), "holds no experiment"),
    "metrics.jsonl cut": (cut("metrics.jsonl", 5), "metrics.jsonl: got 5 bytes, allowed: the "),
    "metrics.jsonl garbled": (garbled, "metrics.jsonl:1: not a JSON record"),
    "config.gin edited": (written("config.gin", QUICK), "belongs to another experiment"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_run_is_not_continued(
    home: Path, run_folder: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    damage, said = DAMAGE[case]
    shutil.copytree(run_folder, home / "run")
    (home / "run" / "checkpoints" / "previous.pt").unlink()  # else it takes the place of a damaged last.pt
    damage(home / "run")
    found = refused(home, capsys, ["run", "--resume", "run", "--device", "cpu"])
    assert said in found, f"the sentence names the file and what is wrong with it: {found}"


def test_a_run_without_checkpoints_or_results(home: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run_folder, home / "run")
    shutil.rmtree(home / "run" / "checkpoints")
    assert "best.pt: no such checkpoint" in refused(home, capsys, ["eval", "run", "--device", "cpu"])
    assert "results.json is not there" in refused(home, capsys, ["compare", "run", "run"])
    for text in ("[]", "{}", json.dumps({"schema": 9})):
        (home / "run" / "results.json").write_text(text)
        assert "results.json" in refused(home, capsys, ["compare", "run", "run"]), f"{text} is no results.json"
