"""Does a literal or reference, as written, fit an annotation? Decided before anything is built."""

from __future__ import annotations

import math
from collections import abc
from typing import Any, Literal, TypeVar, get_origin

from matx import options
from matx.config.names import NOUNS, lookup, name_of
from matx.config.statements import Reference
from matx.errors import did_you_mean
from matx.options import alternatives, bare, container, fits, short
from matx.registration import KINDS, REGISTRIES

__all__ = ["accepts", "mismatch", "spell"]

PROTOCOLS: dict[Any, str] = {protocol: kind.name for kind in KINDS for protocol in (kind.protocol, *kind.refinements)}
"""The kind whose components an annotated protocol admits."""


def accepts(alternative: Any, value: Any) -> bool:
    """Whether a literal or reference (not a list or dict) fits one alternative."""
    if isinstance(value, Reference):
        return _accepts_reference(bare(alternative), value)
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return fits(alternative, value) is True


def _accepts_reference(hint: Any, value: Reference) -> bool:
    cls = lookup(value.name)
    if cls is None or hint is Any or hint is object or isinstance(hint, TypeVar):
        return True
    if hint in PROTOCOLS:
        return value.name.partition(".")[0] == PROTOCOLS[hint] and all(hasattr(cls, name) for name in _methods(hint))
    if get_origin(hint) is abc.Callable or hint is abc.Callable or getattr(hint, "_is_protocol", False):
        return "." in value.name
    return isinstance(hint, type) and fits(hint, None) is None and issubclass(cls, hint)


def _methods(protocol: Any) -> list[str]:
    """The methods that a refinement adds to its kind's protocol."""
    if any(protocol is kind.protocol for kind in KINDS):
        return []
    return [name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_")]


def spell(hint: Any) -> str:
    """An annotation in words."""
    return options.spell(hint, _component)


def _component(hint: Any) -> str | None:
    """The references that an annotation which is no plain type admits."""
    if hint in PROTOCOLS:
        kind = PROTOCOLS[hint]
        names = list(REGISTRIES[kind])
        several = f"a component @{kind}.NAME() ({', '.join(names) or 'none'})"
        return f"@{kind}.{names[0]}()" if len(names) == 1 else several
    if not isinstance(hint, type):
        return None
    if hint.__name__ in NOUNS or name_of(hint):
        return f"@{name_of(hint) or hint.__name__}()"
    return f"a {hint.__name__}, which no gin value is: make the experiment in Python"


def mismatch(value: Any, hint: Any) -> tuple[str, str]:
    """(got, allowed and a hint) of a value that fits no alternative."""
    return short(value), f"{options.allowed(value, hint, _component)}{_hint(value, hint)}"


def _hint(value: Any, hint: Any) -> str:
    parts = alternatives(hint)
    lists = [part for part in parts if (container(part) or ("", ()))[0] == "list"]
    if lists and not isinstance(value, (list, tuple, dict)) and value is not None:
        return f"; did you mean [{value!r}]?"
    if isinstance(value, str):
        return _string_hint(value, [bare(part) for part in parts])
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
            return ""
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
