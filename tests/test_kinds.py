"""A kind is its folder and one entry in KINDS: tried on a copy of the tree, with a kind that does not exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from matx.errors import RegistrationError
from matx.registration import KINDS, _registries

ROOT = Path(__file__).resolve().parent.parent
COMPONENT = '''"""Hello."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import matx


@matx.{kind}.register("{name}")
@dataclass(frozen=True, kw_only=True)
class {cls}:
    """Says hello."""

    {option}

    def {method}

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]
'''
PROTOCOL = """from typing import Protocol

class Greeting(Protocol):
    def text(self) -> str: ...
"""
CONTRACT = """def is_not_silent(greeting):
    if not greeting.text():
        raise AssertionError(f"{greeting!r} says nothing")

CONTRACTS = (is_not_silent,)
"""
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def python(tree: Path, *arguments: str) -> str:
    """What Python prints, without colours, where the copied tree comes before the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    said = re.sub(r"\x1b\[\d+m", "", done.stdout + done.stderr)
    return f"exit {done.returncode}\n{said}"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with the new kind's folder, protocol and contracts, its entry, and a user of it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("matx", "registry", "gin", "tools"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    (tree / "matx" / "interfaces" / "greeting.py").write_text(PROTOCOL)
    (tree / "matx" / "testing" / "greetings.py").write_text(CONTRACT)
    shutil.copytree(tree / "registry" / "unions", tree / "registry" / "greetings", ignore=lambda *_: ["__pycache__"])
    for file in (tree / "registry" / "greetings").glob("[!_]*.py"):
        file.unlink()
    hello = COMPONENT.format(
        kind="greetings", name="hello", cls="Hello", option='name: str = "you"',
        method='text(self) -> str:\n        return f"hello {self.name}"',
    )  # fmt: skip
    (tree / "registry" / "greetings" / "hello.py").write_text(hello)
    greeted = COMPONENT.format(
        kind="datasets", name="greeted", cls="Greeted", option="greeting: Greeting | None = None",
        method="__call__(self) -> None:\n        pass",
    )  # fmt: skip
    greeted = greeted.replace("import matx\n", "import matx\nfrom matx.interfaces.greeting import Greeting\n")
    (tree / "registry" / "datasets" / "greeted.py").write_text(greeted)
    registration = tree / "matx" / "registration.py"
    text = registration.read_text()
    entry = '    Kind(name="greetings", protocol=Greeting, contract="matx.testing.greetings:CONTRACTS"),\n'
    text = text.replace("KINDS: tuple[Kind, ...] = (\n", f"KINDS: tuple[Kind, ...] = (\n{entry}")
    text = text.replace("\n__all__", "from matx.interfaces.greeting import Greeting\n\n__all__", 1)
    registration.write_text(text)
    return tree


def test_a_new_kind_is_listed_shown_and_contract_tested(tree: Path) -> None:
    listed = python(tree, "-m", "matx", "list", "greetings")
    assert listed == "exit 0\ngreetings.hello  Says hello.\n", f"the command line does not list it: {listed}"
    assert "greetings.hello.name: str = 'you'" in python(tree, "-m", "matx", "show", "greetings.hello"), "not shown"
    checked = python(tree, "-m", "matx", "check", "greetings.hello")
    assert "pass  is_not_silent  Hello(name='you')" in checked, f"its contracts are not run: {checked}"
    page = python(tree, "-c", "from tools.components import pages; print(*pages().values())")
    assert "### greetings.hello\n" in page, "the docs leave it out"


def test_a_new_kind_is_spelled_in_gin(tree: Path) -> None:
    check = ("-m", "matx", "check", "smoke", "--no-data", "-s", "Experiment.dataset=@datasets.greeted()", "-s")
    sound = python(tree, *check, "datasets.greeted.greeting=@greetings.hello()", "-s", "greetings.hello.name='all'")
    assert "smoke: sound" in sound, f"gin does not know it: {sound}"
    other = python(tree, *check, "datasets.greeted.greeting=@unions.average()")
    assert "got @unions.average(), allowed: @greetings.hello() or None" in other, f"another kind passes: {other}"


def test_the_import_rules_cover_new_kinds_and_modules(tree: Path) -> None:
    kept = python(tree, "-c", LINT)
    assert kept.startswith("exit 0"), f"the rules do not hold for a new kind: {kept}"
    hello, stray = tree / "registry" / "greetings" / "hello.py", tree / "matx" / "stray.py"
    text = hello.read_text()
    for line, rule in {
        "import registry.attacks": "kinds never import each other",
        "import matx.registration": "components see only the face of matx",
        "import timm": "timm only in architectures",
    }.items():
        hello.write_text(f"{text}\n{line}\n")
        assert f"{rule} BROKEN" in python(tree, "-c", LINT), f"no rule stops `{line}` in a new kind"
    hello.write_text(text)
    stray.write_text("import gin\n")
    broken = python(tree, "-c", LINT)
    stray.unlink()
    assert "layers BROKEN" in broken, "a new module of matx may be in no layer"
    assert "gin only in config BROKEN" in broken, "a new module of matx may import gin"


def test_a_kind_declared_twice_is_refused() -> None:
    with pytest.raises(RegistrationError, match=r"^kinds: 'attacks' is declared twice in KINDS, allowed: one entry"):
        _registries([*KINDS, next(kind for kind in KINDS if kind.name == "attacks")])
