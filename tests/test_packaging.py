"""The wheel holds everything and works from any directory; the sources keep the promises that packaging hangs on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from matx import __version__
from matx.config import packaged_recipes
from matx.run.beside import MEASURED

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {"__pycache__"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree with what is installed here."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"the wheel builds: {done.stderr}"
    (path,) = out.glob("matx-*.whl")
    return path


@pytest.fixture(scope="module")
def content(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An empty working directory, and an environment in which the wheel comes before the checkout."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return tmp_path_factory.mktemp("home"), {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


def sources(folder: str, pattern: str) -> list[Path]:
    found = [path for path in (ROOT / folder).rglob(pattern) if path.is_file()]
    return [path.relative_to(ROOT) for path in found if not SKIPPED & set(path.parts)]


@pytest.mark.parametrize("folder", ["matx", "registry"])
def test_the_wheel_holds_every_module(content: set[str], folder: str) -> None:
    missing = [path.as_posix() for path in sources(folder, "*") if path.as_posix() not in content]
    assert not missing, f"every file of {folder} is in the wheel"
    assert f"{folder}/py.typed" in content, f"{folder} says that it is typed"


def test_the_wheel_holds_every_recipe_inside_matx(content: set[str]) -> None:
    recipes = [path.as_posix() for path in sources("gin", "*.gin")]
    assert recipes, "there are recipes"
    missing = [name for name in recipes if f"matx/{name}" not in content]
    assert not missing, "every recipe travels inside matx"
    examples = [path.as_posix() for path in sources("examples", "*.py")]
    assert {f"matx/{name}" for name in examples} <= content, "`matx new` copies the examples, which travel inside matx"


def test_the_wheel_holds_nothing_else(content: set[str]) -> None:
    tops = {name.split("/")[0] for name in content}
    assert tops <= {"matx", "registry", f"matx-{__version__}.dist-info"}, "tests and tools are not shipped"
    assert not [name for name in content if "__pycache__" in name or name.endswith((".pt", ".npz", ".png"))], (
        "nothing that was made by running is shipped"
    )


def test_the_wheel_names_script_plug_in_and_licence(wheel: Path, content: set[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        points = archive.read(f"matx-{__version__}.dist-info/entry_points.txt").decode()
        metadata = archive.read(f"matx-{__version__}.dist-info/METADATA").decode()
    assert "matx = matx.cli:main" in points, "the console script is there"
    assert "[matx.plugins]\nbuiltin = registry" in points, "the built-ins come through an entry point, as anyone's do"
    assert any(name.endswith("licenses/LICENSE") for name in content), "the licence is there"
    for line in ("License-Expression: MIT", "Provides-Extra: test", "Provides-Extra: dev", "Requires-Python: >=3.11"):
        assert line in metadata, f"the metadata say {line}"


def test_the_wheel_works_from_another_directory(elsewhere: tuple[Path, dict[str, str]]) -> None:
    home, environment = elsewhere
    code = (
        "import json, matx, registry\n"
        "from matx.cli import main\n"
        "from matx.config import find_recipe, packaged_recipes\n"
        "from matx.plugins import import_all\n"
        "from matx.scaffold import example_of\n"
        "code = main(['run', 'smoke', '--dry-run', '--device', 'cpu'])\n"
        "print(json.dumps([matx.__file__, registry.__file__, str(find_recipe('mat_union')), import_all(),\n"
        "                  packaged_recipes(), code, str(example_of('attacks'))]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"the wheel runs: {done.stderr}"
    matx_file, registry_file, recipe, plugins, recipes, code_of_run, example = json.loads(done.stdout.splitlines()[-1])
    site = environment["PYTHONPATH"]
    assert matx_file.startswith(site), "matx is the wheel's"
    assert registry_file.startswith(site), "the components are the wheel's"
    assert recipe.startswith(site), "the recipe is the wheel's"
    assert example.startswith(site), "the example that `matx new` copies is the wheel's"
    assert "builtin" in plugins, "the entry point is found"
    assert recipes == packaged_recipes(), "the wheel knows the same recipes as the checkout"
    assert code_of_run == 0, f"a packaged recipe takes a real step: {done.stderr}"
    assert list(home.iterdir()) == [], "a dry run writes nothing"


def test_gin_holds_recipes_and_no_python() -> None:
    others = [path.as_posix() for path in sources("gin", "*") if path.suffix != ".gin"]
    assert others == [f"gin/{MEASURED}"], (
        "gin/ holds recipes and what was measured of them, which travels with them; a module would shadow gin-config"
    )


def test_importing_matx_touches_no_disk_and_loads_no_torch(tmp_path: Path) -> None:
    code = "import sys, matx; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["False"], f"importing matx leaves torch alone: {done.stderr}"
    assert list(tmp_path.iterdir()) == [], "importing writes nothing"


def test_every_component_file_is_named_as_registered() -> None:
    from matx.plugins import import_all
    from matx.registration import REGISTRIES

    import_all()
    for kind, registry in REGISTRIES.items():
        found = [path for path in sources(f"registry/{kind}", "*.py") if path.parent.name == kind]
        files = {path.stem for path in found if not path.stem.startswith("_")}
        built_in = {name for name in registry if registry[name].__module__.startswith("registry.")}
        assert files == built_in, f"each file in registry/{kind} registers its own name"
