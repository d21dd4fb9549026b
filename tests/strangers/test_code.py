"""Lines that ask for plug-ins: shown, and run with consent alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sample_runs import QUICK

from matx.cli import main
from matx.config import load_experiment
from matx.consent import Consent, consenting, in_matx_folder
from matx.errors import ConfigError
from matx.evaluation.exported import ExportedFolder
from matx.runtime.folder import RunFolder
from matx.tune.study_folder import StudyFolder
from strangers.conftest import EVIL, ran
from tools.faults import commands
from tools.faults.commands import Ended

CPU = ["--device", "cpu"]
IMPORTING = {
    "eval": ["eval", "theirs", *CPU],
    "eval beside": ["eval", "mine", "--beside", "theirs", *CPU],
    "resume": ["run", "--resume", "theirs", *CPU],
    "its file run": ["run", "theirs/config.gin", *CPU],
    "its file run, linked to": ["run", "link.gin", *CPU],
    "its file queued": ["run", "theirs/config.gin", "--seeds", "0", *CPU],
    "its file included": ["run", "including.gin", *CPU],
    "its file tuned": ["tune", "theirs/config.gin"],
    "its file as a suite": ["eval", "mine", "--suite", "theirs/config.gin", *CPU],
    "its file as a metric": ["eval", "mine", "--metric", "theirs/config.gin", *CPU],
    "dry run": ["run", "theirs/config.gin", "--dry-run", *CPU],
    "check": ["check", "theirs/config.gin"],
    "show": ["show", "theirs/config.gin"],
}


@pytest.fixture
def around(home: Path, finished: Path) -> None:
    """Files of the user's own that lead to a stranger's."""
    (home / "mine").symlink_to(finished)
    (home / "link.gin").symlink_to(home / "theirs" / "config.gin")
    (home / "including.gin").write_text("include 'theirs/config.gin'\n")


@pytest.mark.usefixtures("around", "importing")
@pytest.mark.parametrize("case", IMPORTING)
def test_an_import_line_of_a_run_folder_is_shown_and_not_run(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(IMPORTING[case]) == 2, "it is refused"
    shown = capsys.readouterr().err
    assert not ran(), "a stranger's code ran without consent"
    assert "config.gin:1: import evil: would run the code of " in shown, f"the line is shown: {shown}"
    assert "--trust" in shown, f"and how it may run: {shown}"


@pytest.mark.usefixtures("around")
@pytest.mark.parametrize("case", ["eval", "eval beside", "resume"])
def test_a_listed_plug_in_of_a_run_folder_is_shown_and_not_run(
    case: str, listing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(IMPORTING[case]) == 2, "it is refused"
    shown = capsys.readouterr().err
    assert not ran(), "a stranger's code ran without consent"
    assert f'environment.json: plugin "{listing}/evil.py": would run the code of {listing}/evil.py' in shown, shown


@pytest.mark.parametrize("verb", [["show", "theirs"], ["compare", "theirs", "theirs"]], ids=lambda verb: verb[0])
def test_what_only_reads_asks_for_nothing(verb: list[str], importing: Path) -> None:
    main(verb)
    assert not ran(), "reading a folder ran code"


@pytest.mark.parametrize("file", ["best.gin", "recipe.gin", "front/trial-0001.gin"])
def test_gin_files_of_a_study_ask_too(home: Path, theirs: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    study = home / "study"
    (study / "front").mkdir(parents=True)
    (study / "study.json").write_text("{}")
    (study / file).write_text("import evil\n" + QUICK)
    (study / file).with_name("evil.py").write_text(EVIL)
    assert main(["run", f"study/{file}", *CPU]) == 2, "it is refused"
    assert not ran(), "a stranger's code ran without consent"
    assert "import evil" in capsys.readouterr().err, "the line is shown"


@pytest.mark.parametrize("consent", [["--trust"], ["--plugin", "theirs/evil.py"]], ids=["trust", "plugin"])
@pytest.mark.parametrize("case", ["eval", "resume", "its file run", "check"])
def test_with_consent_it_runs(case: str, consent: list[str], importing: Path) -> None:
    main([*IMPORTING[case], *consent])
    assert ran(), "what the user consented to did not run"


def test_the_user_s_own_file_needs_no_consent_to_be_run_and_does_to_be_looked_at(home: Path, theirs: Path) -> None:
    (home / "own.gin").write_text("import evil\n" + QUICK)
    (home / "evil.py").write_text(EVIL)
    for looked_at in (["check", "own.gin"], ["show", "own.gin"], ["run", "own.gin", "--dry-run"]):
        assert main(looked_at) == 2, "looking at a file runs nothing"
        assert not ran(), f"{looked_at[0]} ran the code that a file imports"
    main(["run", "own.gin", *CPU])
    assert ran(), "what the user told to run did not run"


def test_in_python_what_is_imported_already_needs_no_consent(home: Path, theirs: Path) -> None:
    (home / "own.gin").write_text("import evil\n" + QUICK)
    (home / "evil.py").write_text(EVIL)
    with pytest.raises(ConfigError, match=r"own\.gin:1: import evil: would run the code of .*evil\.py"):
        load_experiment(["own.gin"])
    with pytest.raises(ConfigError, match="registers nothing"):
        load_experiment(["own.gin"], own=True)
    assert ran(), "own=True says that the file is the user's"
    with consenting(Consent(trust=True)), pytest.raises(ConfigError, match="registers nothing"):
        load_experiment(["own.gin"])
    assert ran(), "consent is asked of matx.consent"
    assert load_experiment([with_import(home, "registry.attacks.pgd")]).experiment.epochs == 2, "installed is consented"


def with_import(home: Path, module: str) -> Path:
    (home / "importing.gin").write_text(f"import {module}\n" + QUICK)
    return home / "importing.gin"


def test_no_module_of_the_machine_is_run_by_its_name(home: Path, theirs: Path) -> None:
    for module in ("antigravity", "this", "idlelib.idle"):
        with pytest.raises(ConfigError, match=f"import {module}: would run the code of "):
            load_experiment([with_import(home, module)])
        assert module not in sys.modules, "Python's own modules run code too when they are imported"


PLUGIN = """
from dataclasses import dataclass
from registry.datasets.digits import Digits
import matx

@matx.datasets.register("carried")
@dataclass(frozen=True, kw_only=True)
class Carried:
    '''The digits.'''

    def __call__(self):
        return Digits()()
"""
SHORT = ["-s", "Experiment.epochs=1", "-s", "Evaluation.images=4"]


@pytest.fixture
def own(home: Path) -> Path:
    (home / "carried.py").write_text(PLUGIN)
    text = QUICK.replace("@datasets.digits()", "@datasets.carried()")
    (home / "own.gin").write_text("import carried\n" + text)
    return home / "own.gin"


def matx(*words: str) -> Ended:
    """The command in the working directory, as a process of its own that need not import everything anew."""
    return commands.matx(*words, folder=Path.cwd())


def test_printed_commands_carry_the_consent_that_was_given(own: Path) -> None:
    done = matx("run", "own.gin", "--out", "run", *CPU, *SHORT)
    assert done.code == 0, done.said
    assert "`matx eval run --trust` checks every score" in done.said, done.said
    assert matx("eval", "run", "-n", "4", "--no-sanity", *CPU).code == 2, "its own import line asks"
    again = matx("eval", "run", "-n", "4", "--no-sanity", "--trust", *CPU)
    assert again.code == 0, f"the printed command does not work: {again.said}"
    named = matx("run", "own.gin", "--plugin", "carried.py", "--out", "other", *CPU, *SHORT)
    assert "`matx eval other --plugin carried.py` checks" in named.said, f"no more than was given: {named.said}"
    beside = matx("eval", "other", "-n", "4", "--no-sanity", "--plugin", "carried.py", *CPU)
    assert beside.code == 0, f"a plug-in that is named needs no more: {beside.said}"


def test_the_workers_of_a_queue_have_their_parent_s_consent(own: Path) -> None:
    done = matx("run", "own.gin", "--seeds", "0", "--jobs", "1", "--out", "queue", *CPU, *SHORT)
    assert done.code == 0, f"a worker refused what its parent had consented to: {done.said}"
    assert RunFolder(Path("queue/own-seed0")).finished, "its run is finished"


def test_the_folders_are_known_by_the_files_that_matx_writes(tmp_path: Path) -> None:
    assert not in_matx_folder(tmp_path / "mine.gin"), "no folder of matx's"
    marks = (RunFolder(tmp_path / "run").environment, StudyFolder(tmp_path / "study").about)
    for mark in (*marks, ExportedFolder(tmp_path / "export").about):
        mark.parent.mkdir()
        mark.write_text("{}")
        assert in_matx_folder(mark.parent / "any.gin"), f"{mark.name} says whose folder it is"
