"""Examples as an 8-bit file would hold them, without leaving the ball."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["towards_clean"]


def towards_clean(examples: Tensor, clean: Tensor) -> Tensor:
    """Each pixel on the nearest multiple of 1/255 between its value and the clean one, else the clean pixel itself.

    Moving towards the clean pixel shrinks every norm of the perturbation, so what lay inside the threat model stays
    there. Where clean images are 8-bit, so is the result. A value within 1e-4 of a level counts as being on it.
    """
    level, base = examples.double() * 255.0, clean.double() * 255.0
    level = torch.where(examples >= clean, (level + 1e-4).floor(), (level - 1e-4).ceil())
    between = torch.where(examples >= clean, level >= base - 1e-4, level <= base + 1e-4)
    return torch.where(between & (examples != clean), (level / 255.0).to(clean.dtype), clean)
