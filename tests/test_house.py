"""Lengths that keep the code readable: of functions, and of their lists of parameters."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
Function = ast.FunctionDef | ast.AsyncFunctionDef
LINES, PARAMETERS = 50, 8


def functions(folders: tuple[str, ...]) -> Iterator[tuple[str, Function]]:
    """Every function of these folders, the command line's left out, with its place."""
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if "cli" in file.relative_to(ROOT).parts:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, Function):
                    yield f"{file.relative_to(ROOT)}:{node.lineno} {node.name}", node


def test_the_mechanism_names_no_component() -> None:
    """Not even in a message: an example of one would be the only thing that hinders its removal."""
    names = {f"{f.parent.name}.{f.stem}" for f in (ROOT / "registry").glob("*/*.py") if not f.stem.startswith("_")}
    assert len(names) > 60, "the components were not found"
    selector = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in sorted(names)))
    found = []
    for file in sorted((ROOT / "matx").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                found += [f"{file.relative_to(ROOT)}:{node.lineno} {name}" for name in selector.findall(node.value)]
    assert found == [], "components are named in the mechanism"


def test_functions_are_short() -> None:
    lengths = {where: (f.end_lineno or f.lineno) - f.lineno + 1 for where, f in functions(("matx", "registry"))}
    assert len(lengths) > 1000, "the functions were not found"
    assert [where for where, length in lengths.items() if length >= LINES] == [], f"functions of {LINES} lines or more"


def test_functions_take_few_parameters() -> None:
    def count(function: Function) -> int:
        names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
        return len(names) - (names[:1] in (["self"], ["cls"]))

    many = [where for where, function in functions(("matx", "registry")) if count(function) > PARAMETERS]
    assert many == [], f"functions of more than {PARAMETERS} parameters outside the command line"


def test_torch_distributed_is_imported_in_one_package() -> None:
    users = set()
    for file in sorted([*(ROOT / "matx").rglob("*.py"), *(ROOT / "registry").rglob("*.py")]):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            if any(name.startswith("torch.distributed") for name in names):
                users.add(file.relative_to(ROOT).parts[1])
    assert users == {"distributed"}, "torch.distributed is imported elsewhere than in matx/distributed, or nowhere"
