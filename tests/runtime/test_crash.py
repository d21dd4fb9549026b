"""A crash leaves its traceback in the log, and the sentence on the terminal says where: by command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from isolation import isolated_plugins
from sample_runs import QUICK

from matx.cli import main
from matx.errors import RunError
from matx.runtime.log import explained, logged_to

BOOM = """
from dataclasses import dataclass

import matx


@matx.attacks.register("boom")
@dataclass(frozen=True, kw_only=True)
class Boom:
    kind = "maximise"
    threat: matx.ThreatModel
    last: int = 3

    def __call__(self, given):
        return self.inner(given)

    def inner(self, given):
        if given.step >= self.last:
            given.images.reshape(7, -1)
        return given.images
"""
RAISED = next(number for number, line in enumerate(BOOM.splitlines(), 1) if "reshape" in line)


@pytest.fixture
def failing(home: Path) -> Iterator[Path]:
    """A working directory with a recipe whose attack, a plug-in's, raises in the middle of training."""
    (home / "boom.py").write_text(BOOM)
    recipe = QUICK.replace("Peer.attacks = [@attacks.pgd()]", "Peer.attacks = [@attacks.boom()]")
    more = """attacks.boom.threat = @ThreatModel()
Experiment.tune = @Tune()
Tune.space = {'Peer.weight_perturbation': ('float', 0.0, 0.1)}
"""
    (home / "boom.gin").write_text("import boom\n" + recipe + more)
    with isolated_plugins():
        yield home


def _check(said: str, log: Path) -> None:
    """The sentence names the component's line and the log; the log holds the traceback down to torch's error."""
    assert "RuntimeError: shape '[7, -1]' is invalid" in said, f"what went wrong is not said: {said}"
    assert f"boom.py:{RAISED}" in said, f"the component's line is not named: {said}"
    assert str(log) in said, f"the log is not named: {said}"
    assert "defect of matx" not in said, f"matx is blamed for a plug-in's error: {said}"
    text = log.read_text(encoding="utf-8")
    assert text.count("Traceback (most recent call last)") == 1, f"the log holds no traceback: {text}"
    assert f'boom.py", line {RAISED}, in inner' in text, "the traceback does not reach the component"


def test_a_run_that_crashes_and_one_that_crashes_again(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "boom.gin", "--out", "run", "--device", "cpu"]) == 1, "a crash is no success"
    shown = capsys.readouterr().err
    _check(shown, Path("run/log.txt"))
    assert shown.count("Traceback") == 0, "the terminal shows a traceback without --debug"
    assert main(["run", "--resume", "run", "--debug"]) == 1, "resumed it crashes again"
    assert "Traceback (most recent call last)" in capsys.readouterr().err, "--debug shows no traceback"
    assert Path("run/log.txt").read_text().count("Traceback") == 2, "the second crash is not in the log"


def test_a_run_of_a_queue(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "boom.gin", "--seeds", "4", "--jobs", "1", "--device", "cpu"]) == 1, "a crash is no success"
    _check(capsys.readouterr().err, Path("runs/boom-seed4/log.txt"))


def test_an_evaluation(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fine = ["-s", "attacks.boom.last=100", "-s", "Experiment.epochs=1"]
    assert main(["run", "boom.gin", "--out", "run", "--device", "cpu", *fine]) == 0, capsys.readouterr().err
    broken = ["-s", "attacks.boom.last=0", "-s", "Evaluation.attacks=[@attacks.boom()]"]
    assert main(["eval", "run", "--out", "eval", "--no-sanity", *broken]) == 1, "a crash is no success"
    _check(capsys.readouterr().err, Path("eval/log.txt"))


def test_a_trial(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["tune", "boom.gin", "--trials", "1", "--jobs", "1", "--device", "cpu"])
    _check(Path("studies/boom/trials/0000/trial.json").read_text(), Path("studies/boom/trials/0000/log.txt"))


def test_an_error_of_matx_itself_and_one_that_was_foreseen(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught, logged_to(tmp_path / "log.txt"):
        _ = 1 / 0
    assert explained(caught.value) == f"ZeroDivisionError: division by zero; its traceback is in {tmp_path}/log.txt", (
        "an error outside of components names its log alone"
    )
    with pytest.raises(ZeroDivisionError) as bare:
        _ = 1 / 0
    assert explained(bare.value).endswith("this is a defect of matx or of a plug-in: --debug shows where"), (
        "without a log or a component it is a defect"
    )
    with pytest.raises(RunError) as refused, logged_to(tmp_path / "other.txt"):
        raise RunError("loss: got nan")
    assert explained(refused.value) == f"loss: got nan; its traceback is in {tmp_path}/other.txt", (
        "the log is not named"
    )
    assert "in test_an_error_of_matx_itself" in (tmp_path / "other.txt").read_text(), "its traceback is not in the log"


def test_a_stop_by_the_user_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), logged_to(tmp_path / "log.txt"):
        raise KeyboardInterrupt
    assert (tmp_path / "log.txt").read_text() == "", "Ctrl-C left a traceback"
