"""gin itself, without matx's checks: what it makes of a file is what matx must make of it, or refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gin

from matx.config.names import known_names, lookup
from matx.config.writing import resolve

__all__ = ["resolved_by_gin"]

_registered: set[str] = set()


def resolved_by_gin(*files: str, bindings: tuple[str, ...] = ()) -> Any:
    """The resolved values of the experiment in gin files, as gin builds it."""
    gin.clear_config()
    for name in set(known_names()) - _registered:
        module, _, last = name.rpartition(".")
        gin.register(last, module=module or "nouns")(_maker(name))
        _registered.add(name)
    try:
        gin.parse_config_files_and_bindings(list(files), list(bindings))
        return resolve(gin.get_configurable("nouns.Experiment")())
    finally:
        gin.clear_config()


def _maker(name: str) -> Callable[..., Any]:
    def make(**given: Any) -> Any:
        component = lookup(name)
        assert component is not None, f"{name} is not registered"
        return component(**given)

    return make
