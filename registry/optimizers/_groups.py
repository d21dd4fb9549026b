"""What the optimizers share: parameter groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def groups(
    parameters: Mapping[str, nn.Parameter], weight_decay: float, *, decay_norm_and_bias: bool
) -> list[dict[str, Any]]:
    """torch's parameter groups: unless they decay too, parameters of at most one dimension form one without decay."""
    bare = [] if decay_norm_and_bias else [p for p in parameters.values() if p.ndim <= 1]
    decayed = [p for p in parameters.values() if decay_norm_and_bias or p.ndim > 1]
    found: list[dict[str, Any]] = [{"params": decayed, "weight_decay": weight_decay}]
    return [*found, {"params": bare, "weight_decay": 0.0}] if bare else found
