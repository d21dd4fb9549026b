"""The public names: what they are called, and that their docstrings' examples run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import matx


def test_no_public_name_is_a_submodule() -> None:
    modules = {module.name for module in pkgutil.iter_modules(matx.__path__)}
    both = sorted(modules & set(matx.__all__))
    assert not both, f"importing the submodule would replace the public name: {both}"


def test_public_names_outlive_the_import_of_every_module() -> None:
    program = (
        "import importlib, pkgutil, matx\n"
        "before = {name: getattr(matx, name) for name in matx.__all__}\n"
        "for module in pkgutil.walk_packages(matx.__path__, 'matx.'):\n"
        "    if not module.name.endswith(('__main__', 'testing.pytest')): importlib.import_module(module.name)\n"
        "changed = [name for name in matx.__all__ if getattr(matx, name) is not before[name]]\n"
        "print(changed)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", f"public names that an import has replaced:\n{done.stdout}{done.stderr}"


def test_examples_in_docstrings_run() -> None:
    tried = 0
    for name in ("attacking", "measuring", "loading", "running"):
        found = doctest.testmod(importlib.import_module(f"matx.api.{name}"), verbose=False)
        assert found.failed == 0, f"{found.failed} examples of matx.api.{name} give something else"
        tried += found.attempted
    assert tried >= 10, f"the four calls have examples that run, not {tried} lines"
