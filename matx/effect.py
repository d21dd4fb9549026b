"""How an option says that no figure depends on it: `path: str = field(metadata=NO_EFFECT)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field
from types import MappingProxyType
from typing import Any

__all__ = ["NO_EFFECT", "has_effect"]

NO_EFFECT: Mapping[str, bool] = MappingProxyType({"matx.no_effect": True})
"""Metadata of a dataclass field on which no figure depends: where images lie, how many workers read them. Two
experiments that differ in such options alone are the same, so one may go on as the other."""


def has_effect(option: Field[Any]) -> bool:
    """Whether figures may depend on an option."""
    return "matx.no_effect" not in option.metadata
