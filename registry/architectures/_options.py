"""Checks of options that several networks share, and what the wide residual networks have in common."""

from __future__ import annotations

from torch import nn

from matx.errors import OptionError, did_you_mean
from registry.architectures._networks import ACTIVATIONS, wide_resnet


def check_activation(name: str, activation: str) -> None:
    """Refuse an activation that no network here knows."""
    if activation not in ACTIVATIONS:
        raise OptionError(
            f"architectures.{name}.activation: got {activation!r}, allowed: "
            f"{', '.join(ACTIVATIONS)}{did_you_mean(str(activation), ACTIVATIONS)}"
        )


def check_wide(name: str, *, activation: str, dropout: float, widen: int) -> None:
    """Refuse options that no wide residual network can use."""
    check_activation(name, activation)
    if not 0.0 <= dropout < 1.0:
        raise OptionError(f"architectures.{name}.dropout: got {dropout}, allowed: from 0 to below 1")
    if widen < 1:
        raise OptionError(f"architectures.{name}.widen: got {widen}, allowed: 1 or more")


def wide(
    depth: int, shape: tuple[int, int, int], classes: int, *, activation: str, dropout: float, widen: int
) -> nn.Module:
    """A wide residual network for images of that (C, H, W)."""
    return wide_resnet(
        depth=depth, widen=widen, num_classes=classes, in_chans=shape[0], activation=activation, dropout=dropout
    )
