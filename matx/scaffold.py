"""A first file of one's own: the example of a kind under another name, and the test of its contracts."""

from __future__ import annotations

import importlib.util
import keyword
import re
from dataclasses import dataclass
from pathlib import Path

import matx
from matx.errors import PluginError, RegistrationError, did_you_mean
from matx.plugins import import_all
from matx.registration import KINDS, REGISTRIES, place
from matx.runtime.files import write_text

__all__ = ["Scaffold", "example_of", "kind_of", "scaffold", "words", "write"]

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_TEST = '''"""{kind}.{name} keeps every contract of its kind. Tests of what it promises beyond them belong below.

pytest {test}
"""

from __future__ import annotations

from pathlib import Path

from matx.plugins import load_plugin
from matx.testing.pytest import Promise, over

load_plugin(Path(__file__).with_name("{file}"))


@over("{kind}", "{name}")
def test_it_keeps_its_contracts(promise: Promise, tmp_path: Path) -> None:
    promise(tmp_path)
'''


@dataclass(frozen=True, kw_only=True)
class Scaffold:
    """Two files that do not exist yet."""

    kind: str
    name: str
    component: Path
    test: Path
    code: str
    """Of the component's file."""
    test_code: str


def kind_of(word: str) -> str:
    """The kind that a word names: its own (`attacks`) or that of one component (`attack`)."""
    known = words()
    if word in REGISTRIES:
        return word
    if word not in known:
        raise RegistrationError(f"new: got the kind {word!r}, allowed: {', '.join(known)}{did_you_mean(word, known)}")
    return known[word]


def words() -> dict[str, str]:
    """{word for one component: its kind}, as in {attack: attacks}."""
    return {_one(kind.name): kind.name for kind in KINDS}


def example_of(kind: str) -> Path:
    """The file that shows how a component of the kind is written; RegistrationError where there is none."""
    package = Path(matx.__file__).resolve().parent
    inside = package / "examples"  # in a wheel; in a checkout they lie beside the package
    file = (inside if inside.is_dir() else package.parent / "examples") / f"my_{_one(kind)}.py"
    if not file.is_file():
        raise RegistrationError(f"new: the kind {kind} has no example, looked for {file}")
    return file


def scaffold(kind: str, name: str, folder: Path) -> Scaffold:
    """What to write for a new component of this kind; an error where the name cannot be used or a file exists."""
    _check_name(kind, name)
    component, test = folder / f"{name}.py", folder / f"test_{name}.py"
    for file in (component, test):
        if file.exists():
            raise PluginError(f"new: {file} exists already; allowed: another name, or another folder by --out")
    code = _renamed(example_of(kind).read_text(encoding="utf-8"), kind, name)
    tested = _TEST.format(kind=kind, name=name, file=component.name, test=test.name)
    return Scaffold(kind=kind, name=name, component=component, test=test, code=code, test_code=tested)


def write(made: Scaffold) -> None:
    """Write both files; the folder is made where it is missing."""
    made.component.parent.mkdir(parents=True, exist_ok=True)
    write_text(made.component, made.code)
    write_text(made.test, made.test_code)


def _check_name(kind: str, name: str) -> None:
    """A name that a registry takes, that is free in it, and that a file may have as a module."""
    if not _NAME.match(name) or keyword.iskeyword(name):
        raise RegistrationError(
            f"new: got the name {name!r}, allowed: lower-case letters, digits and _, no keyword of Python"
        )
    import_all()
    if name in REGISTRIES[kind]:
        raise RegistrationError(f"new: {kind}.{name} is taken by {place(REGISTRIES[kind][name])}; choose another name")
    if importlib.util.find_spec(name) is not None:
        raise RegistrationError(f"new: got the name {name!r}, which is a module of Python's path; choose another name")


def _renamed(code: str, kind: str, name: str) -> str:
    """The example's code with its registered name, its class and its file called after `name`."""
    found = re.search(rf'@matx\.{kind}\.register\("(\w+)"\)\n(?:@.*\n)*class (\w+)', code)
    if found is None:
        raise RegistrationError(f"new: the example of {kind} registers nothing among {kind}")
    old, cls = found.groups()
    code = code.replace(f"examples/my_{_one(kind)}.py", f"{name}.py")
    code = re.sub(rf"(?<![.\w]){cls}\b", "".join(part.title() for part in name.split("_")), code)
    code = code.replace(f'"{old}"', f'"{name}"').replace(f"{kind}.{old}", f"{kind}.{name}")
    return re.sub(rf"--(\w+) {old}\b", rf"--\1 {name}", code)


def _one(kind: str) -> str:
    """The word for one component of a kind: attack of attacks, strategy of strategies."""
    return f"{kind[:-3]}y" if kind.endswith("ies") else kind.removesuffix("s")
