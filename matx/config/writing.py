"""Back to text: the flattened file that gives the same experiment, and every resolved value for the record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from matx.config.names import name_of
from matx.config.statements import Binding, Macro, Reference

__all__ = ["flatten", "is_plain", "literal", "resolve"]

_WIDTH = 110


def is_plain(value: Any) -> bool:
    """Whether gin reads a value's repr as the value."""
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def literal(value: Any) -> str:
    """A value in gin's syntax, on one line."""
    if isinstance(value, (Reference, Macro)):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def flatten(files: Sequence[str], overrides: int, imports: Iterable[str], bindings: Sequence[Binding]) -> str:
    """One gin text of what had an effect: imports, macros, then the bindings; with a head that names its sources."""
    applied = f", with {overrides} override{'s' if overrides > 1 else ''} (-s) applied" if overrides else ""
    sources = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in ", ".join(files))
    lines = [f"# One file, made of {sources}{applied}; what had no effect is left out.", ""]
    lines += [f"import {module}" for module in imports]
    lines += [_line(binding) for binding in bindings if binding.is_macro]
    lines += ["" for _ in range(lines[-1] != "")]
    blocks: dict[tuple[str, str], list[str]] = {}
    for binding in bindings:
        if not binding.is_macro:
            blocks.setdefault((binding.scope, binding.name), []).append(_line(binding))
    for block in blocks.values():
        lines += [*block, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _line(binding: Binding) -> str:
    whole = f"{binding.label} = {literal(binding.value)}"
    value = binding.value
    if len(whole) <= _WIDTH or not isinstance(value, (dict, list)) or not value:
        return whole
    if isinstance(value, dict):
        items = [f"    {key!r}: {literal(item)}," for key, item in value.items()]
        return "\n".join([f"{binding.label} = {{", *items, "}"])
    return "\n".join([f"{binding.label} = [", *(f"    {literal(item)}," for item in value), "]"])


def resolve(value: Any) -> Any:
    """Every option with its value, defaults too, as plain data for JSON; `@` names the component."""
    if is_dataclass(value) and not isinstance(value, type):
        name = name_of(value) or type(value).__qualname__
        return {"@": name, **{f.name: resolve(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Mapping):
        return {str(key): resolve(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    known = name_of(value)
    return str(value) if known is None else {"@": known}
