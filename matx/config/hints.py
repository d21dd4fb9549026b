"""Does a value fit an annotation? Decided on literals and references as written, before anything is built."""

from __future__ import annotations

import math
import types
from collections import abc
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from matx.config.names import NOUNS, lookup, name_of
from matx.config.statements import BROKEN, Reference
from matx.errors import did_you_mean
from matx.registration import KINDS, REGISTRIES

__all__ = ["accepts", "container", "members", "mismatch", "spell"]

PROTOCOLS: dict[Any, str] = {protocol: kind.name for kind in KINDS for protocol in (kind.protocol, *kind.refinements)}
"""The kind whose components an annotated protocol admits."""

_LISTS = (list, tuple, set, frozenset, abc.Sequence, abc.Iterable, abc.Collection, abc.Set)
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_SPELLED: dict[Any, str] = {
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "a string in quotes",
    Path: "a path in quotes",
    type(None): "None",
}


def members(hint: Any) -> list[Any]:
    """The alternatives of a union; None is its own type; wrappers are taken off."""
    if hint is None:
        return [type(None)]
    if get_origin(hint) is Annotated:
        return members(get_args(hint)[0])
    if hasattr(hint, "__supertype__"):
        return members(hint.__supertype__)
    if get_origin(hint) in (Union, types.UnionType):
        return [member for part in get_args(hint) for member in members(part)]
    return [hint]


def container(hint: Any) -> tuple[str, tuple[Any, ...]] | None:
    """('list', (item,)), ('tuple', (first, second, ...)) or ('dict', (key, value)) of a container's annotation."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return "tuple", args
    if origin in _LISTS:
        return "list", (args[0] if args else Any,)
    if origin in _DICTS:
        return "dict", args or (Any, Any)
    return None


def accepts(hint: Any, value: Any) -> bool:
    """Whether a literal or reference (not a list or dict) fits one alternative."""
    if value is BROKEN:
        return True
    if isinstance(value, Reference):
        return _accepts_reference(hint, value)
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if hint is Any or hint is object or isinstance(hint, TypeVar):
        return True
    if get_origin(hint) is Literal:
        return any(type(value) is type(allowed) and value == allowed for allowed in get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is Path:
        return isinstance(value, str)
    if hint in (bool, str, bytes, complex, type(None)):
        return isinstance(value, hint)
    return False


def _accepts_reference(hint: Any, value: Reference) -> bool:
    cls = lookup(value.name)
    if cls is None or hint is Any or hint is object or isinstance(hint, TypeVar):
        return True
    if hint in PROTOCOLS:
        return value.name.partition(".")[0] == PROTOCOLS[hint] and all(hasattr(cls, name) for name in _methods(hint))
    if get_origin(hint) is abc.Callable or hint is abc.Callable or getattr(hint, "_is_protocol", False):
        return "." in value.name
    return isinstance(hint, type) and hint not in _SPELLED and issubclass(cls, hint)


def _methods(protocol: Any) -> list[str]:
    """The methods that a refinement adds to its kind's protocol."""
    if any(protocol is kind.protocol for kind in KINDS):
        return []
    return [name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_")]


def spell(hint: Any) -> str:
    """An annotation in words."""
    parts = members(hint)
    if len(parts) > 1:
        return " or ".join(dict.fromkeys(spell(part) for part in parts))
    (only,) = parts
    if only in _SPELLED:
        return _SPELLED[only]
    if get_origin(only) is Literal:
        return ", ".join(repr(allowed) for allowed in get_args(only))
    shape = container(only)
    if shape is not None:
        kind, inner = shape
        if kind == "dict":
            return f"a dict {{{_item(inner[0])}: {_item(inner[1])}}}"
        return f"a list [{', '.join(map(_item, inner))}{', ...' if kind == 'list' else ''}]"
    if only in PROTOCOLS:
        return _example(PROTOCOLS[only])
    if isinstance(only, type) and only.__name__ in NOUNS:
        return f"@{only.__name__}()"
    if isinstance(only, type):
        return f"@{name_of(only)}()" if name_of(only) else only.__name__
    return "any value" if only is Any else str(only)


def _item(hint: Any) -> str:
    short = {bool: "True", int: "integer", float: "number", str: "'text'"}
    return short.get(hint) or spell(hint)


def _example(kind: str) -> str:
    names = list(REGISTRIES[kind])
    return f"@{kind}.{names[0]}()" if len(names) == 1 else f"a component @{kind}.NAME() ({', '.join(names) or 'none'})"


def mismatch(value: Any, hint: Any) -> str:
    """`got 'pgd', allowed: ...; did you mean ...?` for a value that fits no alternative."""
    return f"got {short(value)}, allowed: {spell(hint)}{_hint(value, hint)}"


def short(value: Any) -> str:
    """A value as written, cut to a readable length; what overflowed reads as such."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} (too large for a number)"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _hint(value: Any, hint: Any) -> str:
    parts = members(hint)
    lists = [part for part in parts if (container(part) or ("", ()))[0] == "list"]
    if lists and not isinstance(value, (list, tuple, dict)) and value is not None:
        return f"; did you mean [{value!r}]?"
    if isinstance(value, str):
        return _string_hint(value, parts)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return f"; did you mean {value[0]!r}?"
    if value in (0, 1) and bool in parts:
        return f"; did you mean {bool(value)}?"
    return ""


def _string_hint(value: str, parts: list[Any]) -> str:
    for part in parts:
        if part in PROTOCOLS:
            names = [f"{PROTOCOLS[part]}.{name}" for name in REGISTRIES[PROTOCOLS[part]]]
            whole = value if "." in value else f"{PROTOCOLS[part]}.{value}"
            near = did_you_mean(whole.strip("@()"), names)
            return near.replace("'", "@", 1).replace("'", "()", 1)
        if get_origin(part) is Literal:
            return did_you_mean(value, [a for a in get_args(part) if isinstance(a, str)])
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words and type(words[value.lower()]) in parts:
        return f"; did you mean {words[value.lower()]}?"
    try:
        number = float(value)
    except ValueError:
        return ""
    if (float in parts or int in parts) and math.isfinite(number):
        return f"; did you mean {value}, without quotes?"
    return ""
