"""The command line: every verb, and one clear sentence with exit code 2 for whatever is wrong."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scored import scores

from matx.cli import main
from matx.results import read_results
from matx.run import sweep


def in_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"the process ends well: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["eval", "--help"], ["--version"]])
def test_help_imports_no_torch(arguments: list[str]) -> None:
    code = f"import sys; from matx.cli import main; main({arguments!r})\n"
    code += "print([m for m in ('torch', 'gin') if m in sys.modules])"
    assert in_new_process(code).splitlines()[-1] == "[]", "help imports neither torch nor gin"


def test_list_and_check_import_only_what_they_need() -> None:
    heavy = ("timm", "tensorboard", "optuna", "torchvision", "scipy", "sklearn", "torch._dynamo")
    code = "import sys; from matx.cli import main; main(['list']); main(['check', 'mat_union'])\n"
    code += f"print([m for m in {heavy!r} if m in sys.modules])"
    assert in_new_process(code).splitlines()[-1] == "[]", "listing and checking import nothing heavy beside torch"


def test_run_tells_where_everything_lies(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert results["experiment"] == "quick", "results carry the recipe's name"
    assert json.loads((finished / "environment.json").read_text())["seed"] == 3, "--seed is the experiment's seed"
    assert main(["run", "--resume", str(finished)]) == 0, "resuming a finished run is no error"
    shown = capsys.readouterr()
    assert "finished already" in shown.err, "it says that the run is finished"
    for word in ("model", "clean", "linf:0.1", "union", "one", "two", str(finished / "results.json"), "report.html"):
        assert word in shown.out, f"the table and the places show {word}"


def test_results_fold_at_sixty_columns(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(columns: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(["run", "--resume", str(finished), "-q"]) == 0, "showing the results ends well"
        return [line for line in capsys.readouterr().out.splitlines() if line[:1] in "│┃"]

    whole, parts = shown(160), shown(60)
    assert max(len(line) for line in parts) <= 60 < max(len(line) for line in whole), "the case folds nothing"
    cells = [[cell.strip() for line in lines for cell in line.split("│")[2:-1]] for lines in (whole, parts)]
    assert sorted(cells[0]) == sorted(cells[1]), "a figure is cut, missing or twice"


def test_config_of_a_run_gives_the_same_experiment(finished: Path, home: Path) -> None:
    again = home / "again"
    assert main(["run", str(finished / "config.gin"), "--out", str(again), "--device", "cpu"]) == 0, "it runs"
    first, second = (json.loads((path / "results.json").read_text()) for path in (finished, again))
    assert first["scores"] == second["scores"], "the flattened file gives the same figures"
    assert (finished / "resolved.txt").read_text() == (again / "resolved.txt").read_text(), "and the same values"
    assert (first["experiment"], second["experiment"]) == ("quick", "quick"), "under the name of the run's experiment"
    (planned,) = sweep.plan([str(finished / "config.gin")], [], [0])
    assert planned.folder == Path("runs/quick-seed0"), "in a queue, too"


def test_eval(finished: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert main(["eval", str(finished), "--out", "again", "--device", "cpu"]) == 0, "evaluating again ends well"
    for checkpoint in ("best", "last"):
        again, first = (scores(path, checkpoint=checkpoint) for path in ("again", finished))
        for key, score in first.items():
            assert again[key].correct == score.correct, "the same evaluation gives other results"
    assert again["ensemble", "clean"].n == 30, "the ensemble of the peers is scored beside them"
    capsys.readouterr()
    changed = ["--peer", "two", "-n", "7", "--checkpoint", "last", "--seed", "5", "-s", "test/attacks.pgd.steps=1"]
    assert main(["eval", str(finished), "--device", "cpu", *changed]) == 0, "a changed evaluation ends well"
    shown = capsys.readouterr().out
    assert "checkpoint last" in shown, "the checkpoint asked for is shown"
    assert not any(line.startswith("│ one ") for line in shown.splitlines()), "other peers are left out"
    assert any(line.startswith("│ two ") for line in shown.splitlines()), "the peer asked for is shown"
    assert "measured    Attack pgd(steps=1," in shown, "the attacks are named with their settings"
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before, "the run is left as it was"
    assert main(["eval", str(finished), "-s", "architectures.tiny.width=5"]) == 2, "another model is refused"
    assert "architecture.width: 4 -> 5" in capsys.readouterr().err, "the difference is shown"


def test_eval_by_a_suite(finished: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["eval", str(finished), "--device", "cpu", "-n", "6", "--checkpoint", "last", "--peer", "one"]
    assert main([*few, "--suite", "pgd", "-s", "attacks.pgd.steps=2", "--verify"]) == 0, "a suite ends well"
    columns = ["clean", "linf:0.1", "union", "8-bit"]
    assert [column for _, column in scores("evals/quick-1")] == columns, "a suite is aimed at the run's threat models"
    found = read_results("evals/quick-1")
    assert [attack.options["steps"] for attack in found.attacks or ()] == [2, 2], "-s changes it"
    assert "steps" in (found.attacks or ())[0].changed, "what differs from the defaults is not named"
    assert main([*few, "--suite", "pgd", "--threat", "l2:0.3", "-s", "attacks.pgd.steps=1"]) == 0, "or where it is told"
    assert ("one", "l2:0.3") in scores("evals/quick-2"), "the threat model is not the one asked for"
    capsys.readouterr()
    for arguments, said in (
        (["--suite", "pgd", "-s", "Experiment.epochs=3"], "epochs: 10 -> 3 has no effect"),
        (["--threat", "l1:2"], "got l1:2, the attacks are for linf"),
        (["--ema"], "keeps no moving average"),
        (["--peer", "tow"], "did you mean 'two'"),
        (["--dataset", "digits"], "a run has its own"),
    ):
        assert main([*few, *arguments]) == 2, f"{arguments} is refused"
        assert said in capsys.readouterr().err, f"{arguments}: the sentence says {said}"


def test_eval_of_a_run_without_checkpoints(finished: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, home / "bare")
    shutil.rmtree(home / "bare" / "checkpoints")
    assert main(["eval", "bare"]) == 2, "a run without checkpoints is refused"
    assert "best.pt: no such checkpoint" in capsys.readouterr().err, "with one sentence"
    assert not Path("evals").exists(), "nothing was begun"


def test_dry_run_writes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry = ["run", "quick.gin", "--dry-run", "--device", "cpu"]
    assert main([*dry, "--peak", "1e12", "--utilisation", "0.1"]) == 0, "a dry run ends well"
    shown = capsys.readouterr().out
    assert "6 steps, 300 images, 4,800 passes" in shown, "two peers: 5 passes of PGD-2 and 3 of training each"
    assert "at 10% of 1e+12 FLOP a second, an estimate: 0 s" in shown, "and what it would take on a stated device"
    assert "nothing was written" in shown, "it says so"
    assert [path.name for path in home.iterdir()] == ["quick.gin"], "nothing was written"


def test_debug_shows_the_traceback(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nowhere.gin", "--debug"]) == 2, "the exit code stays"
    assert "Traceback" in capsys.readouterr().err, "--debug shows where the error was raised"


def test_another_experiment_is_not_continued(finished: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = ["run", "quick.gin", "--resume", str(finished), "-s", "Experiment.batch_size=30", "--seed", "3"]
    assert main(other) == 2, "a checkpoint of another experiment is refused"
    assert "batch_size: 50 -> 30" in capsys.readouterr().err, "the difference is shown"
    same = ["run", "quick.gin", "--resume", str(finished), "-s", "Experiment.checkpoint_every=5", "--seed", "3"]
    assert main(same) == 0, "what changes no result may change"


def test_verbose_says_what_is_done(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["run", "quick.gin", "--device", "cpu", "-s", "Experiment.epochs=1"]
    assert main([*quick, "--out", "quiet"]) == 0, "the run ends well"
    assert "quick in quiet on cpu" not in capsys.readouterr().err, "without -v the log stays in log.txt"
    assert "quick in quiet on cpu" in Path("quiet/log.txt").read_text(), "which has it"
    assert main([*quick, "--out", "loud", "-v"]) == 0, "the run ends well"
    said = capsys.readouterr().err.splitlines()
    assert "quick in loud on cpu" in said, "-v shows the log"
    assert sum("loss one" in line for line in said) == 1, "-v repeats the epoch that progress has shown"
    assert Path("loud/log.txt").read_text().count("loss one") == 1, "the log has the epoch"


def test_quiet_says_only_results_and_errors(finished: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "quick.gin", "--device", "cpu", "--out", "run", "-q"]) == 0, "the run ends well"
    shown = capsys.readouterr()
    assert shown.err == "", "-q shows progress or notes"
    assert "linf:0.1" in shown.out, "-q hides the results"
    assert main(["eval", str(finished), "--device", "cpu", "-n", "5", "--no-sanity", "-q"]) == 0, "so does eval"
    assert capsys.readouterr().err == "", "-q shows progress or notes"
    assert main(["run", "nowhere.gin", "-q"]) == 2, "an error stays an error"
    assert "nowhere.gin" in capsys.readouterr().err, "-q hides an error"
    assert main(["list", "-q", "-v"]) == 2, "louder and quieter at once is refused"


@pytest.mark.parametrize("verb", [["run"], ["tune"], ["eval"], ["compare"], ["list"], ["show"], ["check"]])
def test_every_verb_can_be_quiet(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, "--help"]) == 0, "help ends well"
    assert "--quiet" in capsys.readouterr().out, f"{verb} cannot be quiet"


def test_ctrl_c_says_how_to_resume(home: Path) -> None:
    command = [sys.executable, "-m", "matx", "run", "quick.gin", "--out", "run", "--device", "cpu"]
    process = subprocess.Popen(
        [*command, "-s", "Experiment.epochs=100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics = home / "run" / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.stat().st_size):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, f"an interrupted run ends with 130: {said}"
    assert "continue with: matx run --resume run" in said, "it says how to continue"
    assert "Traceback" not in said, "and shows no traceback"


@pytest.mark.parametrize("verb", [["--help"], ["run", "--resume", "RUN"]])
def test_whoever_closes_the_pipe_is_told_nothing(finished: Path, verb: list[str]) -> None:
    """As `matx list | head -1` does: click and rich each end by SystemExit where nobody reads on."""
    read, write = os.pipe()
    os.close(read)
    words = [str(finished) if word == "RUN" else word for word in verb]
    try:
        done = subprocess.run([sys.executable, "-m", "matx", *words], stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert done.returncode == 1, f"the exit code of a closed pipe is {done.returncode}"
    assert "Error" not in done.stderr, f"a closed pipe is no error of the command: {done.stderr}"
    assert "Exception ignored" not in done.stderr, f"the interpreter complains at its end: {done.stderr}"


def test_a_shell_completes_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_MATX_COMPLETE", "bash_source")
    assert main([]) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    assert "complete" in shown.out, "the shell gets no script"
    assert shown.err == "", f"completing is no error: {shown.err}"


def test_the_logger_is_left_as_it_was() -> None:
    """A program that calls `main` and goes on hears the log as before."""
    logger = logging.getLogger("matx")
    before = logger.level, logger.propagate, list(logger.handlers)
    assert main(["list", "unions"]) == 0, "the command works"
    assert (logger.level, logger.propagate, list(logger.handlers)) == before, "the command changed the logger"
