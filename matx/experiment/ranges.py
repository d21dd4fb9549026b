"""Values held against what is allowed, in the words of every refusal."""

from __future__ import annotations

from collections.abc import Sequence

from matx.errors import OptionError, did_you_mean

__all__ = ["at_least", "between", "one_of"]


def one_of(where: str, got: str, allowed: Sequence[str]) -> None:
    """Refuse a value that is not among the allowed words."""
    if got not in allowed:
        raise OptionError(f"{where}: got {got!r}, allowed: {', '.join(allowed)}{did_you_mean(str(got), allowed)}")


def at_least(where: str, got: float, low: float) -> None:
    """Refuse a number below a bound (or NaN)."""
    if not got >= low:
        raise OptionError(f"{where}: got {got}, allowed: {low} or more")


def between(where: str, got: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high] (or NaN)."""
    if not low <= got <= high:
        raise OptionError(f"{where}: got {got}, allowed: {low} to {high}")
