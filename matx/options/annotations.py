"""Does a value fit an annotation? One walk through containers and alternatives, for gin's literals and for Python."""

from __future__ import annotations

import math
import types
from collections import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from matx.errors import did_you_mean
from matx.options.ranges import LARGEST, Range

__all__ = [
    "BROKEN",
    "Misfit",
    "allowed",
    "alternatives",
    "bare",
    "container",
    "declarations",
    "fit",
    "fits",
    "range_of",
    "short",
    "spell",
]


class _Broken:
    def __repr__(self) -> str:
        return "BROKEN"


BROKEN: Any = _Broken()
"""Stands where a value was wrong and has been reported; it fits everything."""

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


@dataclass(frozen=True)
class Misfit:
    """A value, or one inside it, that its annotation does not allow."""

    path: str
    """Where inside the option: `[0]`, `['a']`, or nothing."""
    value: Any
    got: str
    allowed: str


def alternatives(hint: Any) -> list[Any]:
    """The alternatives of a union; None is its own type; wrappers are taken off, but a number keeps its range."""
    if hint is None:
        return [type(None)]
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        ranges = [note for note in notes if isinstance(note, Range)]
        return [
            Annotated[one, ranges[0]] if ranges and one in (int, float) else one for one in alternatives(inner)
        ]  # other metadata of an annotation is ignored
    if hasattr(hint, "__supertype__"):
        return alternatives(hint.__supertype__)
    if get_origin(hint) in (Union, types.UnionType):
        return [one for part in get_args(hint) for one in alternatives(part)]
    return [hint]


def bare(alternative: Any) -> Any:
    """An alternative without its range."""
    return get_args(alternative)[0] if get_origin(alternative) is Annotated else alternative


def range_of(alternative: Any) -> Range | None:
    """The range of an alternative that is a number with one."""
    return get_args(alternative)[1] if get_origin(alternative) is Annotated else None


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


def declarations(hint: Any) -> Iterator[tuple[Any, Any]]:
    """(what it is on, the declaration) of every range and choice in an annotation."""
    if get_origin(hint) is Literal:
        yield hint, hint
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        yield from ((inner, note) for note in notes if isinstance(note, Range))
        yield from declarations(inner)
    else:
        for part in get_args(hint) if get_origin(hint) is not Literal else ():
            yield from declarations(part)


def fits(alternative: Any, value: Any) -> bool | None:
    """Whether a value fits an alternative that is plain; None for others: classes, protocols, containers."""
    hint, declared = bare(alternative), range_of(alternative)
    if hint is Any or hint is object or isinstance(hint, TypeVar):
        return True
    if get_origin(hint) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(hint))
    if hint in (int, float):
        number = isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
        return number and (declared is None or value in declared)
    if hint is Path:
        return isinstance(value, str | Path)
    return isinstance(value, hint) if hint in (bool, str, bytes, complex, type(None)) else None


def fit(
    value: Any,
    hint: Any,
    accepts: Callable[[Any, Any], bool],
    say: Callable[[Any, Any], tuple[str, str]],
    path: str = "",
) -> tuple[Any, list[Misfit]]:
    """(the value with BROKEN where it does not fit, every misfit).

    `accepts(alternative, value)` decides on what is no container; `say(value, hint)` gives (got, allowed) of a misfit.
    """
    tries = [_fit_one(value, one, accepts, say, path) for one in alternatives(hint)]
    for fitted, wrong in tries:
        if not wrong and fitted is not BROKEN:
            return fitted, []
    inside = [tried for tried in tries if tried[0] is not BROKEN]
    if value is BROKEN:
        return BROKEN, []
    return inside[0] if inside else (BROKEN, [Misfit(path, value, *say(value, hint))])


def _fit_one(
    value: Any, hint: Any, accepts: Callable[[Any, Any], bool], say: Callable[[Any, Any], tuple[str, str]], path: str
) -> tuple[Any, list[Misfit]]:
    """As `fit`, for one alternative; BROKEN as a whole where it is another sort of value."""
    if not isinstance(value, list | tuple | Mapping):
        return (value if value is not BROKEN and accepts(hint, value) else BROKEN), []
    shape = container(hint)
    if hint is Any or hint is object:
        shape = ("dict", (Any, Any)) if isinstance(value, Mapping) else ("list", (Any,))
    if shape is None or (shape[0] == "dict") != isinstance(value, Mapping):
        return BROKEN, []
    kind, inner = shape
    if isinstance(value, Mapping):
        keys = [fit(key, inner[0], accepts, say, f"{path}: key") for key in value]
        items = [fit(item, inner[1], accepts, say, f"{path}[{key!r}]") for key, item in value.items()]
        wrong = [misfit for part in zip(items, keys, strict=True) for _, found in part for misfit in found]
        return {
            key: item if keyed is not BROKEN else BROKEN
            for key, (keyed, _), (item, _) in zip(value, keys, items, strict=True)
        }, wrong
    if kind == "tuple" and len(inner) != len(value):
        return list(value), [Misfit(path, value, f"{len(value)} values", str(len(inner)))]
    hints = inner if kind == "tuple" else inner * len(value)
    pairs = enumerate(zip(value, hints, strict=True))
    tried = [fit(item, one, accepts, say, f"{path}[{position}]") for position, (item, one) in pairs]
    return [fitted for fitted, _ in tried], [misfit for _, wrong in tried for misfit in wrong]


def spell(hint: Any, other: Callable[[Any], str | None] = lambda _: None) -> str:
    """An annotation in words; `other` gives those of what is no plain type, or None."""
    parts = alternatives(hint)
    if len(parts) > 1:
        return " or ".join(dict.fromkeys(spell(part, other) for part in parts))
    only, declared = bare(parts[0]), range_of(parts[0])
    if only in _SPELLED:
        return _SPELLED[only] if declared is None else f"{_SPELLED[only]} ({declared})"
    if get_origin(only) is Literal:
        return ", ".join(repr(choice) for choice in get_args(only))
    shape = container(only)
    if shape is not None:
        kind, inner = shape
        words = [_ITEMS.get(one) or spell(one, other) for one in inner]
        return f"a dict {{{': '.join(words)}}}" if kind == "dict" else f"a list [{', '.join(words)}{_more(kind)}]"
    if only is Any:
        return "any value"
    return other(only) or (only.__name__ if isinstance(only, type) else str(only))


_ITEMS: dict[Any, str] = {bool: "True", int: "integer", float: "number", str: "'text'"}


def _more(kind: str) -> str:
    return ", ..." if kind == "list" else ""


def allowed(value: Any, hint: Any, other: Callable[[Any], str | None] = lambda _: None) -> str:
    """What is allowed in place of a value: the range alone where it has the right type; the nearest of the choices."""
    parts = alternatives(hint)
    ranges = [str(range_of(part)) for part in parts if range_of(part) is not None and fits(bare(part), value)]
    if ranges:
        return ", or ".join([*ranges, *(["None"] if type(None) in parts else [])])
    choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    near = did_you_mean(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
    return f"{spell(hint, other)}{near}"


def short(value: Any) -> str:
    """A value as written, cut to a readable length; what overflowed reads as such."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} (too large for a number)"
    if isinstance(value, float) and abs(value) > LARGEST:
        return f"{value} (too large for a 32-bit number)"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
