"""What several unions say of their winners."""

from __future__ import annotations

import torch
from torch import Tensor

from matx.interfaces import AttackInput

__all__ = ["all_from"]


def all_from(drawn: int, count: int, given: AttackInput) -> Tensor:
    """(1, N, attacks): one attack made all examples."""
    winners = torch.zeros(1, len(given.images), count, device=given.images.device)
    winners[..., drawn] = 1.0
    return winners
