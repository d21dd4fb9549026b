"""Augmentation on the batch, on the device: shared by all peers and keyed by sample, so that runs are paired."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from matx.draws import SampleGenerator
from matx.errors import OptionError

__all__ = ["Augment"]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Pad and crop by up to `pad` pixels, then flip left to right with probability 1/2 where `flip`."""

    pad: int = 4
    flip: bool = True
    fill: str = "zero"
    """What the padding holds: 'zero' or 'reflect'."""

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise OptionError(f"Augment.pad: got {self.pad}, allowed: 0 or more pixels")
        if self.fill not in ("zero", "reflect"):
            raise OptionError(f"Augment.fill: got {self.fill!r}, allowed: zero, reflect")

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        """(N, C, H, W) -> the same shape; draws come from the generator alone."""
        if self.pad:
            images = _crop(images, self.pad, self.fill, generator.at("crop"))
        if self.flip:
            mirror = generator.at("flip").uniform(()) < 0.5
            images = torch.where(mirror.reshape(-1, 1, 1, 1), images.flip(-1), images)
        return images


def _crop(images: Tensor, pad: int, fill: str, generator: SampleGenerator) -> Tensor:
    """Each image moved by a whole number of pixels in -pad..pad on both axes."""
    count, _, height, width = images.shape
    padded = F.pad(images, [pad] * 4, mode="constant" if fill == "zero" else fill)
    corner = generator.integers(0, 2 * pad, (2,))
    rows = corner[:, :1] + torch.arange(height, device=images.device)
    columns = corner[:, 1:] + torch.arange(width, device=images.device)
    sample = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
