"""The options of a component or noun as rows of text, for `matx show`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matx.options import parameters, spell

__all__ = ["Row", "describe"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One option as text."""

    parameter: str
    type: str
    """Its annotation; where that declares a range or choices, what is allowed, in words."""
    default: str
    """Its repr, or `required`."""
    doc: str = ""
    """The string below the field in the source, on one line."""


def describe(component: type[Any]) -> list[Row]:
    """(parameter, type, default, doc) of every option, in declared order."""
    docs = {name: text for base in reversed(component.__mro__) for name, text in _docs(base).items()}
    annotations = {k: v for base in reversed(component.__mro__) for k, v in inspect.get_annotations(base).items()}
    return [
        Row(
            parameter=name,
            type=spell(option.hint) if option.declares else _text(annotations.get(name, option.hint)),
            default="required" if option.required else repr(option.default),
            doc=docs.get(name, ""),
        )
        for name, option in parameters(component).items()
    ]


def _text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _docs(component: type[Any]) -> dict[str, str]:
    """The string below each field; none where the source is out of reach."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(component)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    docs: dict[str, str] = {}
    for above, below in pairwise(body):
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name) and isinstance(text, str):
            docs[above.target.id] = " ".join(text.split())
    return docs
