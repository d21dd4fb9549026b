"""`matx new` writes, for every kind, a component that keeps its contracts as written, and the test that says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from isolation import isolated_plugins

from matx.cli import main
from matx.registration import KINDS, REGISTRIES
from matx.scaffold import example_of
from matx.testing import CONTRACTS


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    with isolated_plugins():
        yield


def _mine(kind: str) -> str:
    return f"mine_{kind}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A component of every kind, as `matx new` writes it."""
    folder = tmp_path_factory.mktemp("new")
    for kind in REGISTRIES:
        assert main(["new", kind, _mine(kind), "--out", str(folder)]) == 0, f"`matx new {kind}` writes nothing"
    return folder


def test_what_is_written_passes_its_own_test(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    count = sum(len(CONTRACTS[kind.name]) for kind in KINDS)
    assert f"{count} passed" in done.stdout, f"not every contract of every kind is kept:\n{done.stdout[-3000:]}"


def test_nothing_of_the_example_stays(folder: Path) -> None:
    for kind in REGISTRIES:
        text = (folder / f"{_mine(kind)}.py").read_text()
        old = re.search(r'register\("(\w+)"\)', example_of(kind).read_text())
        assert old is not None, f"the example of {kind} registers something"
        assert not re.search(rf"{kind}\.{old[1]}|\"{old[1]}\"|examples/", text), f"{kind}: the example's name is left"
        assert f"matx check {kind}.{_mine(kind)} --plugin {_mine(kind)}.py" in text, f"{kind}: no command to check it"


def test_its_words_name_the_next_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "schedule", "halved"]) == 0, "the word for one component names its kind"
    said = capsys.readouterr().out
    (check,) = re.findall(r"^check +matx (.*)$", said, flags=re.M)
    assert main(check.split()) == 0, "the command that it prints does not pass"
    assert "12 of 12 contracts kept" in capsys.readouterr().out, "the check is not that of the new schedule"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("atack", "mine"), "got the kind 'atack', allowed: architecture, attack, .* did you mean 'attack'"),
        (("attack", "pgd"), "attacks.pgd is taken by registry.attacks.pgd.PGD"),
        (("attack", "class"), "got the name 'class', allowed: lower-case letters"),
        (("attack", "../mine"), "got the name '../mine', allowed: lower-case letters"),
        (("attack", "json"), "got the name 'json', which is a module"),
        (("attack", "old"), "old.py exists already; allowed: another name"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_sentence(
    words: tuple[str, str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.py").write_text("KEPT = 1\n")
    assert main(["new", *words, "--out", str(tmp_path)]) == 2, f"{words} must be refused"
    assert re.search(sentence, capsys.readouterr().err), f"{words} is refused without its reason"
    assert [file.name for file in tmp_path.iterdir()] == ["old.py"], "nothing is written"
    assert (tmp_path / "old.py").read_text() == "KEPT = 1\n", "what exists is left as it is"
