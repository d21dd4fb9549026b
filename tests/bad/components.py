"""Bad components of any kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


class Plain:
    """Not a dataclass."""


@dataclass(kw_only=True)
class Thawed:
    """Can be changed."""

    size: int = 1


@dataclass(frozen=True)
class ByPosition:
    """Takes options by position."""

    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Hiding:
    """Its repr hides an option."""

    size: int = field(default=1, repr=False)


@dataclass(frozen=True, kw_only=True)
class Undocumented:
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Unpicklable:
    """Holds a function without a name."""

    rule: Callable[[int], int] = field(default_factory=lambda: lambda x: x)


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """Comes back from pickle as another."""

    size: int = 1

    def __reduce__(self) -> Any:
        return Forgetting, ()


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    ("is_a_frozen_dataclass", Plain, "not a dataclass"),
    ("is_a_frozen_dataclass", Thawed, "not frozen"),
    ("is_a_frozen_dataclass", ByPosition, "takes size by position"),
    ("shows_every_option", Hiding, "hides size"),
    ("is_documented", Undocumented, "no docstring"),
    ("survives_copies", Unpicklable, "does not pickle"),
    ("survives_copies", lambda: Forgetting(size=2), "comes back from pickle"),
]
"""(contract, a component that breaks it, words of the sentence)."""
