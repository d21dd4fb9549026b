"""The public names: what they are called, and that their docstrings' examples run."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
import subprocess
import sys

import pytest

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


_CONSTANTS = {"CLEAN", "State", "__version__"}
"""Names without a docstring of their own."""


@pytest.mark.parametrize("name", sorted(set(matx.__all__) - _CONSTANTS))
def test_the_example_of_a_public_name_runs(name: str) -> None:
    value = getattr(matx, name)
    documented = value if inspect.isclass(value) or inspect.isfunction(value) else type(value)
    examples = [test for test in doctest.DocTestFinder(recurse=False).find(documented, name, globs={}) if test.examples]
    assert examples, f"matx.{name} has no example that runs"
    runner = doctest.DocTestRunner(verbose=False)
    for example in examples:
        runner.run(example)
    assert runner.failures == 0, f"the example of matx.{name} gives something else"
