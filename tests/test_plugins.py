from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from isolation import isolated_plugins

import matx
from matx.errors import PluginError, RegistrationError
from matx.plugins import import_all, load_plugin, plugin_of
from matx.registration import REGISTRIES, Registry

GOOD = """
from dataclasses import dataclass
import matx

@matx.datasets.register("{name}")
@dataclass(frozen=True, kw_only=True)
class Mine:
    n: int = 1
"""
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    with isolated_plugins():
        yield put


def install(folder: Path, name: str, module: str) -> None:
    """What an installer leaves behind: a distribution with an entry point."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[matx.plugins]\n{name} = {module}\n")
    sys.path.append(str(folder))


def registries() -> dict[str, dict[str, type]]:
    return {kind: dict(registry.components) for kind, registry in REGISTRIES.items()}


def test_a_registry_finds_the_built_ins_in_a_fresh_interpreter(tmp_path: Path) -> None:
    code = "import matx; print(matx.attacks['pgd'].__module__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["registry.attacks.pgd"], f"no second call is needed: {done.stderr}"


@pytest.mark.parametrize(
    "read", [len, list, lambda r: "mine" in r, lambda r: r["mine"]], ids=["len", "list", "in", "item"]
)
def test_every_way_of_reading_a_registry_looks_for_plug_ins(read: Callable[[Registry[object]], object]) -> None:
    registry = Registry[object]("datasets")
    registry.discover = lambda: registry.components.setdefault("mine", object)
    read(registry)
    assert list(registry.components) == ["mine"], "it was read before the plug-ins were looked for"


def test_a_plug_in_may_read_a_registry_while_it_is_imported(write: Write, tmp_path: Path) -> None:
    write("reader.py", GOOD.format(name="mine") + "\nBASE = matx.attacks['pgd']\nassert 'mine' in matx.datasets\n")
    install(tmp_path, "reader", "reader")
    assert matx.datasets["mine"].__module__ == "reader", "the plug-in that reads while imported is registered"


def test_a_failing_plug_in_takes_no_built_in_with_it(tmp_path: Path) -> None:
    """In a fresh interpreter, where the plug-in's own reading would be what finds the built-ins."""
    (tmp_path / "failing.py").write_text("import matx\nmatx.attacks['pgd']\n1 / 0\n")
    code = """
import matx, matx.errors, matx.plugins
try:
    matx.plugins.load_plugin("./failing.py")
except matx.errors.PluginError as error:
    print("ZeroDivisionError" in str(error), "pgd" in matx.attacks)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], f"undoing the plug-in undid the built-ins: {done.stderr}"


def test_the_built_ins_come_through_the_door_that_anyone_uses() -> None:
    with isolated_plugins():
        names = import_all()
        assert "builtin" in names, "the built-in plug-in is an entry point like any other"
        assert import_all() == names, "a second call changes nothing"
        for registry in REGISTRIES.values():
            assert registry.plugins.count("builtin") == 1, f"{registry.kind} records each plug-in once"


def test_an_installed_plugin_is_found_by_its_entry_point(write: Write, tmp_path: Path) -> None:
    write("by_entry_point.py", GOOD.format(name="by_entry_point"))
    install(tmp_path, "stranger", "by_entry_point")
    assert "stranger" in import_all(), "import_all gives the names"
    assert "by_entry_point" in matx.datasets, "its component is registered"
    assert "stranger" in matx.attacks.plugins, "every registry records it"
    assert plugin_of(matx.datasets["by_entry_point"]) is None, "an installed plug-in needs no import line"


def test_a_broken_installed_plugin_is_a_clear_error_each_time(write: Write, tmp_path: Path) -> None:
    write("by_broken_entry.py", "import a_module_that_is_not_there\n")
    install(tmp_path, "broken", "by_broken_entry")
    for _ in range(2):
        with pytest.raises(PluginError, match=r"plug-in broken does not import: ModuleNotFoundError: .*not_there"):
            import_all()


def test_a_file_is_loaded_and_its_folder_appended(write: Write, tmp_path: Path) -> None:
    file = write("by_file.py", GOOD.format(name="by_file"))
    before = list(sys.path)
    assert load_plugin(file) == "by_file", "the module's name"
    assert sys.path == [*before, str(tmp_path)], "the folder is appended, never put first"
    assert load_plugin(str(file)) == "by_file", "again changes nothing"
    assert sys.path == [*before, str(tmp_path)], "and appends nothing"
    assert matx.datasets["by_file"]().n == 1, "the component works"
    assert matx.unions.plugins[-1] == "by_file", "every registry records the plug-in"
    assert plugin_of(matx.datasets["by_file"]) == "by_file", "a gin file imports it by that name"


def test_a_module_and_a_package(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("by_package/__init__.py", "from by_package import inner\n")
    write("by_package/inner.py", GOOD.format(name="by_package"))
    assert load_plugin(tmp_path / "by_package") == "by_package", "a package's folder is a plug-in too"
    assert plugin_of(matx.datasets["by_package"]) == "by_package", "its inner modules belong to it"
    write("near/by_name.py", GOOD.format(name="by_name"))
    assert load_plugin("by_name", near=[tmp_path / "near"]) == "by_name", "a module beside the gin file is found"
    monkeypatch.chdir(tmp_path)
    write("here.py", GOOD.format(name="here"))
    assert load_plugin("here.py") == "here", "a relative file"


def test_what_was_imported_before_counts(write: Write, tmp_path: Path) -> None:
    write("imported_before.py", GOOD.format(name="imported_before"))
    write("re_exports.py", "from imported_before import Mine\n")
    sys.path.append(str(tmp_path))
    __import__("imported_before")
    assert load_plugin("imported_before") == "imported_before", "its components are registered already"
    assert load_plugin("re_exports") == "re_exports", "a plug-in may bring another module's components"


FAULTS = {
    "syntax": ("def x(:\n", "does not import: SyntaxError"),
    "cause": ("import matx\nx = 1\nx.nothing\n", r"does not import: AttributeError: .*nothing.*:3\)"),
    "exit": ("raise SystemExit(3)\n", "does not import: SystemExit: 3"),
    "dependency": ("import not_installed_at_all\n", "No module named 'not_installed_at_all'"),
    "nothing": ("x = 1\n", r"registers nothing: .*faulty\.py was imported, allowed: .*@matx\.attacks\.register"),
    "taken": (GOOD.format(name="digits"), r"cannot register: datasets\.digits is taken by registry\.datasets\.digits"),
    "no dataclass": (
        'import matx\n@matx.attacks.register("mine")\nclass Mine:\n    steps: int = 1\n',
        r"cannot register: attacks\.mine: got faulty.*\.Mine .*, allowed: a class made a dataclass by a line "
        r"@dataclass\(frozen=True, kw_only=True\) below the line @matx\.attacks\.register\('mine'\)",
    ),
    "wrong order": (
        "import matx\nfrom dataclasses import dataclass\n@dataclass(frozen=True)\n"
        '@matx.attacks.register("mine")\nclass Mine:\n    steps: int = 1\n',
        r"attacks\.mine: got faulty.*\.Mine .*, allowed: .* below the line",
    ),
    "undecorated heir": (
        GOOD.format(name="parent") + '\n@matx.datasets.register("heir")\nclass Heir(Mine):\n    more: int = 2\n',
        r"datasets\.heir: got faulty.*\.Heir .*, allowed: a class made a dataclass",
    ),
    "function": (
        'import matx\n@matx.attacks.register("mine")\ndef mine(given):\n    return given.images\n',
        r"attacks\.mine: got faulty.*\.mine .*, allowed: a class made a dataclass",
    ),
    "number": ('import matx\nmatx.attacks.register("mine")(3)\n', r"attacks\.mine: got 3, allowed: a class made"),
    "bad name": (GOOD.format(name="Digits"), "cannot register: datasets: got the name 'Digits', allowed: lower-case"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_plugin_is_named_and_leaves_no_trace(fault: str, write: Write) -> None:
    text, sentence = FAULTS[fault]
    first = GOOD.format(name="half_way") if fault in ("cause", "exit", "taken") else ""
    file = write("faulty.py", first.replace("Mine", "Half") * (fault == "taken") + text)
    before, path = registries(), list(sys.path)
    with pytest.raises(PluginError, match=sentence) as caught:
        load_plugin(file)
    assert "faulty" in str(caught.value), f"the plug-in is named: {caught.value}"
    assert registries() == before, "a failed plug-in leaves nothing that is registered"
    assert sys.path == path, "nor on sys.path"
    assert "faulty" not in sys.modules, "nor among the modules"
    if fault not in ("syntax", "cause", "exit", "dependency", "nothing"):
        assert isinstance(caught.value.__cause__, RegistrationError), "the registry's own refusal is the cause"


def test_matx_is_no_plug_in_and_stays_imported() -> None:
    """`import matx` in a gin file took matx's own modules away, and errors were no longer known as its own."""
    errors = sys.modules["matx.errors"]
    with pytest.raises(PluginError, match="plug-in matx registers nothing"):
        load_plugin("matx")
    assert sys.modules.get("matx.errors") is errors, "a module that was there before is forgotten"


def test_a_corrected_plugin_loads(write: Write) -> None:
    file = write("corrected.py", "x = 1\n")
    with pytest.raises(PluginError, match="registers nothing"):
        load_plugin(file)
    write("corrected.py", GOOD.format(name="corrected") + "# longer than the first try, whose bytecode is kept\n")
    assert load_plugin(file) == "corrected", "after a correction the same process can load it"


def test_a_failing_package_can_be_loaded_again(write: Write, tmp_path: Path) -> None:
    write("half_broken/__init__.py", "from half_broken import good, bad\n")
    write("half_broken/good.py", GOOD.format(name="half_broken"))
    bad = write("half_broken/bad.py", "raise ValueError('bad')\n")
    with pytest.raises(PluginError, match=r"ValueError: bad \(.*bad\.py:1\)"):
        load_plugin(tmp_path / "half_broken")
    assert "half_broken" not in matx.datasets, "what the good half registered is taken back"
    bad.write_text("fine = 'this half registers nothing, which is no fault of the whole'\n")
    load_plugin(tmp_path / "half_broken")
    assert "half_broken" in matx.datasets, "both halves run again"


def test_names_that_belong_to_others(write: Write, tmp_path: Path) -> None:
    for name in ("random", "registry", "this"):
        with pytest.raises(PluginError, match=f"the module name '{name}' belongs to .* already; rename the file"):
            load_plugin(write(f"{name}.py", GOOD.format(name="clash")))
    with pytest.raises(PluginError, match=r"not importable, allowed: a \.py file"):
        load_plugin(write("no-identifier.py", GOOD.format(name="clash")))
    with pytest.raises(PluginError, match=r"not importable, allowed: a \.py file"):
        load_plugin(write("plugin.txt", ""))


def test_missing_plugins(write: Write, tmp_path: Path) -> None:
    write("present.py", GOOD.format(name="present"))
    with pytest.raises(PluginError, match=r"presnt\.py: no such file; did you mean '.*present\.py'\?"):
        load_plugin(tmp_path / "presnt.py")
    with pytest.raises(PluginError, match=r"'presnt' does not import: no such module .*; did you mean 'present'\?"):
        load_plugin("presnt", near=[tmp_path])
