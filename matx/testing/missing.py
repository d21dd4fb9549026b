"""What a component lacks of its kind's protocol, each with the line to add; and where in its file a promise breaks."""

from __future__ import annotations

import dataclasses
import inspect
import traceback
import typing
from collections.abc import Iterator
from types import FunctionType
from typing import Any, ClassVar, Literal, get_args, get_origin

__all__ = ["lacking", "line_of"]


def lacking(component: type[Any], protocol: type[Any]) -> list[str]:
    """The lines to add for the class variables, options and methods of the protocol that a class does not have."""
    options = (
        {option.name for option in dataclasses.fields(component)} if dataclasses.is_dataclass(component) else set()
    )
    return [
        line
        for part in reversed(protocol.__mro__)
        if getattr(part, "_is_protocol", False)
        for name, line in (*_variables(part), *_members(part))
        if name not in options and not _has(component, name)
    ]


def _has(component: type[Any], name: str) -> bool:
    """Whether the class or a base of it defines the name; getattr would find what every class has, `__call__` too."""
    return any(name in vars(part) for part in component.__mro__ if part is not object)


def _variables(part: type[Any]) -> Iterator[tuple[str, str]]:
    """Class variables, each with the value that says least."""
    hints = typing.get_type_hints(part)
    for name, text in inspect.get_annotations(part).items():
        if get_origin(hints[name]) is ClassVar:
            (hint,) = get_args(hints[name])
            yield name, f"{name}: {text} = {_first(hint)!r}"


def _first(hint: Any) -> object:
    """A value that the annotation allows."""
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    return hint() if hint in (bool, str, int) else None


def _members(part: type[Any]) -> Iterator[tuple[str, str]]:
    """Methods, class methods and properties; a property is an option of a component."""
    for name, value in vars(part).items():
        if name.startswith("_") and name != "__call__":
            continue
        if isinstance(value, property):
            yield name, f"{name}: {inspect.get_annotations(value.fget)['return']}"  # type: ignore[arg-type]
        elif isinstance(value, classmethod):
            yield name, f"@classmethod / def {name}{_signature(value.__func__)}: return [cls()]"
        elif isinstance(value, FunctionType):
            yield name, f"def {name}{_signature(value)}: ..."


def _signature(function: Any) -> str:
    return str(inspect.signature(function)).replace("'", "")


def line_of(component: type[Any], error: BaseException | None = None) -> str:
    """`FILE:LINE` where the component was last at work when the error was raised, else where its class begins."""
    try:
        file = inspect.getsourcefile(component)
        begins = inspect.getsourcelines(component)[1]
    except (OSError, TypeError):
        return ""
    while error is not None:
        frames = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
        if frames:
            return f"{file}:{frames[-1]}"
        error = error.__cause__ or error.__context__
    return f"{file}:{begins}"
