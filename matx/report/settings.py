"""The settings of an experiment that are not the defaults, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matx.config import lookup
from matx.options import parameters
from matx.pages import Sheet
from matx.runtime.files import plain

__all__ = ["settings_sheet"]

_COMPONENT = "@"
"""The key of a component's name in resolved settings."""
_NONE = "must be set"


def settings_sheet(resolved: Mapping[str, Any]) -> Sheet | None:
    """What is set otherwise than by default, of the content of a run's resolved.json; None where that is nothing."""
    rows = [list(row) for row in _changed(resolved, "")]
    if not rows:
        return None
    return Sheet(caption="Settings that are not the defaults", head=["setting", "value", "default"], rows=rows)


def _changed(value: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """(path, value, default) of every option below; of a component in a place of its own, its name."""
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _changed(item, f"{path}[{position}]")
    elif isinstance(value, Mapping):
        name = value.get(_COMPONENT)
        cls = None if name is None else lookup(str(name))
        known = {} if cls is None else parameters(cls)
        for key, item in value.items():
            if key == _COMPONENT:
                continue
            at = f"{path}.{key}" if path else str(key)
            if _nested(item):
                if isinstance(item, Mapping) and _COMPONENT in item:
                    yield at, str(item[_COMPONENT]), _NONE if key in known and known[key].required else ""
                yield from _changed(item, at)
            elif key not in known or known[key].required:
                yield at, _shown(item), _NONE if key in known else ""
            elif plain(known[key].default) != item:
                yield at, _shown(item), _shown(plain(known[key].default))


def _nested(value: Any) -> bool:
    return (isinstance(value, Mapping) and bool(value)) or (
        isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value)
    )


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
