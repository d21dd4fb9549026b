"""Checks of options that several networks share."""

from __future__ import annotations

from matx.errors import OptionError, did_you_mean
from registry.architectures._networks import ACTIVATIONS


def check_activation(name: str, activation: str) -> None:
    """Refuse an activation that no network here knows."""
    if activation not in ACTIVATIONS:
        raise OptionError(
            f"architectures.{name}.activation: got {activation!r}, allowed: "
            f"{', '.join(ACTIVATIONS)}{did_you_mean(str(activation), ACTIVATIONS)}"
        )
