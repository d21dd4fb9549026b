"""What the optimizers share: parameter groups and the checks of options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from matx.errors import OptionError


def groups(
    parameters: Mapping[str, nn.Parameter], weight_decay: float, *, decay_norm_and_bias: bool
) -> list[dict[str, Any]]:
    """torch's parameter groups: unless they decay too, parameters of at most one dimension form one without decay."""
    bare = [] if decay_norm_and_bias else [p for p in parameters.values() if p.ndim <= 1]
    decayed = [p for p in parameters.values() if decay_norm_and_bias or p.ndim > 1]
    found: list[dict[str, Any]] = [{"params": decayed, "weight_decay": weight_decay}]
    return [*found, {"params": bare, "weight_decay": 0.0}] if bare else found


def check_numbers(name: str, **options: float | None) -> None:
    """Refuse options below 0 (or NaN); None is left alone."""
    for option, value in options.items():
        if value is not None and not value >= 0.0:
            raise OptionError(f"optimizers.{name}.{option}: got {value}, allowed: 0 or more")


def check_shares(name: str, **options: float) -> None:
    """Refuse options outside [0, 1)."""
    for option, value in options.items():
        if not 0.0 <= value < 1.0:
            raise OptionError(f"optimizers.{name}.{option}: got {value}, allowed: 0 or more, below 1")
