"""Commands of README and docs: each is one that `matx` has; the pages of RUN are done from top to bottom."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from isolation import isolated_plugins

from matx.cli import cli, main

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "SECURITY.md", *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
RUN = ["tutorial", "howto/own_data", "howto/own_attack", "howto/own_strategy", "howto/tune"]
RUN += ["howto/evaluate", "howto/ci", "howto/read_the_report"]
"""Pages of docs that are done from top to bottom, in an empty folder, quickly."""
TRAINING = ("Experiment.epochs=1", "Experiment.train_limit=40", "Experiment.batch_size=40", "Evaluation.images=20")
TRAINING += ("Evaluation.validation_images=20", "Evaluation.every=1", "*/attacks.pgd.steps=2")
QUICK: dict[str, Sequence[str]] = {
    "run": [word for setting in TRAINING for word in ("-s", setting)],
    "tune": [word for setting in TRAINING for word in ("-s", setting)],
    "eval": ["-n", "10", "--no-sanity", "-s", "*/attacks.pgd.steps=5"],
}
"""What is added to the page's commands, so that they take seconds."""
LEFT_OUT = r"w\.pt|models/cifar10|photos"
"""Commands on files that nobody has here."""


@dataclass(frozen=True)
class Piece:
    """A command, a file to write (`title="mine.gin"` at its fence), or Python to run."""

    what: str
    text: str
    line: int


def pieces(text: str) -> Iterator[Piece]:
    """The commands, files and Python blocks of a page, in order."""
    fence: list[str] | None = None
    opening, started = "", 0
    pending = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if fence is None:
                fence, opening, started = [], line.removeprefix("```"), number
                continue
            title = re.search(r'title="([^"]+)"', opening)
            if title:
                yield Piece(title[1], "\n".join(fence) + "\n", started)
            elif opening.startswith("python"):
                yield Piece("python", "\n".join(fence), started)
            fence = None
        elif fence is not None:
            fence.append(line)
        elif pending or re.match(r" {4,}matx ", line):
            pending += line.strip().removesuffix("\\")
            if not line.endswith("\\"):
                yield Piece("command", pending, number)
                pending = ""


def words_of(command: str) -> list[str]:
    """The words after `matx`: without a comment, or an explanation after two or more blanks."""
    return shlex.split(re.split(r" {2,}", command.strip())[0], comments=True)[1:]


def commands() -> list[object]:
    return [
        pytest.param(piece.text, id=f"{page}:{piece.line}")
        for page in PAGES
        for piece in pieces((ROOT / page).read_text(encoding="utf-8"))
        if piece.what == "command"
    ]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one_that_matx_has(command: str) -> None:
    verb, *words = words_of(command)
    assert verb in cli.commands, f"matx has no verb {verb!r}"
    assert cli.commands[verb].make_context(verb, words).params, f"{command}: an unknown option raises"


@pytest.fixture
def beside_gin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory as the README's commands expect it: with the recipes, and a run of the baseline."""
    (tmp_path / "gin").symlink_to(ROOT / "gin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def quickly(words: Sequence[str]) -> list[str]:
    """The words of a command of README with what makes it take seconds."""
    verb, *given = words
    if "--resume" in given or "--dry-run" in given:
        return [*words, *(QUICK["run"] if "--dry-run" in given else ())]
    fewer = {"--seeds": "0", "--trials": "1"}
    less = [word for option, value in fewer.items() if option in given for word in (option, value)]
    finals = ["-s", "Tune.seeds=[]"] if verb == "tune" else []
    return [*words, *QUICK.get(verb, ()), *less, *finals]


def test_the_readme_s_commands_run(beside_gin: Path) -> None:
    """From top to bottom; the files of strangers have tests of their own."""
    lines = [piece for piece in pieces((ROOT / "README.md").read_text(encoding="utf-8")) if piece.what == "command"]
    todo = [(piece.line, words_of(piece.text)) for piece in lines if " theirs" not in piece.text]
    assert len(todo) >= 18, f"README.md shows fewer commands than it did: {todo}"
    for first in ("gin/mat_union.gin", "at_union"):  # the command of the start, and the run that one is compared with
        assert main(quickly(["run", first])) == 0, f"`matx run {first}` fails"
    with isolated_plugins():
        for line, words in todo:
            assert main(quickly(words)) == 0, f"README.md:{line}: `matx {' '.join(words)}` fails"
    for made in ("runs/mat_union-1/report.html", "exports/mat_union-1/README.md", "mine.py"):
        assert (beside_gin / made).is_file(), f"the commands leave no {made}"


def test_the_readme_s_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [piece for piece in pieces((ROOT / "README.md").read_text(encoding="utf-8")) if piece.what == "python"]
    assert len(blocks) == 1, "README.md shows one block of Python"
    exec(compile(blocks[0].text, f"README.md:{blocks[0].line}", "exec"), {})
    columns = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert columns[:3] == ["clean", "linf:0.15", "union"], f"it prints a line a column: {columns}"


def pass_tests(text: str, where: str) -> None:
    """Call the test functions of a file that a page shows."""
    namespace: dict[str, object] = {}
    exec(compile(text, where, "exec"), namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_") and callable(value)]
    assert tests, f"{where}: a file of tests holds none"
    for test in tests:
        test()


@pytest.mark.parametrize("page", RUN)
def test_a_page_is_gone_through(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    ran = 0
    with isolated_plugins():
        for piece in pieces((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")):
            where = f"docs/{page}.md:{piece.line}"
            if piece.what == "python":
                exec(compile(piece.text, where, "exec"), namespace)
            elif piece.what != "command":
                (tmp_path / piece.what).write_text(piece.text, encoding="utf-8")
                if piece.what.startswith("test_"):
                    pass_tests(piece.text, where)
            elif not re.search(LEFT_OUT, piece.text):
                verb, *words = words_of(piece.text)
                quick = [] if "--show" in words else QUICK.get(verb, [])
                assert main([verb, *words, *quick]) == 0, f"{where}: `matx {verb}` fails"
                ran += 1
    assert ran >= 1, f"docs/{page}.md has no command that runs"
