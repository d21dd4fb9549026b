"""Checks of the strategies' options."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matx.errors import OptionError, did_you_mean


def check_weights(strategy: str, **values: float) -> None:
    """Refuse a weight that is not a finite number of 0 or more."""
    for name, value in values.items():
        if not 0.0 <= value < math.inf:
            raise OptionError(f"strategies.{strategy}.{name}: got {value}, allowed: a number of 0 or more")


def check_shares(strategy: str, **values: float) -> None:
    """Refuse a share outside [0, 1]."""
    for name, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise OptionError(f"strategies.{strategy}.{name}: got {value}, allowed: 0 to 1")


def check_positive(strategy: str, **values: float) -> None:
    """Refuse a number that is not over 0 and finite."""
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise OptionError(f"strategies.{strategy}.{name}: got {value}, allowed: a number over 0")


def check_smoothing(strategy: str, value: float) -> None:
    """Refuse a label smoothing outside [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise OptionError(f"strategies.{strategy}.smoothing: got {value}, allowed: 0 up to but not including 1")


def one_of(where: str, got: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is not among the allowed ones."""
    if got not in allowed:
        raise OptionError(f"{where}: got {got!r}, allowed: {', '.join(allowed)}{did_you_mean(str(got), allowed)}")


def check_crafting(strategy: str, value: str) -> None:
    """Refuse a word other than 'published' and 'attack'."""
    one_of(f"strategies.{strategy}.crafting", value, ("published", "attack"))
