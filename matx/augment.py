"""Augmentation on the batch, on the device: shared by all peers and keyed by sample, so that runs are paired."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from matx.errors import OptionError
from matx.randomness import SampleGenerator

__all__ = ["Augment"]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Pad and crop, flip, then where asked random operations and erasing; each sample by its own draws.

    `operations` random ones per image, with replacement, as in RandAugment (Cubuk et al. 2019, arXiv 1909.13719) from
    the set: nothing, rotate (30 degrees), shear x, shear y (0.3), translate x, translate y (a third of the side),
    brightness, contrast, saturation (factor 1 +- 0.9). The numbers in brackets hold at `magnitude` 1, the sign is
    random; other magnitudes scale them. Erasing sets a square of `erase_size` times the shorter side, its centre
    anywhere, to 0 (cutout, DeVries and Taylor 2017, arXiv 1708.04552), with probability `erase`.
    """

    pad: int = 4
    """Crop by up to so many pixels."""
    flip: bool = True
    """Left to right with probability 1/2."""
    fill: str = "zero"
    """What the padding holds: 'zero' or 'reflect'."""
    operations: int = 0
    magnitude: float = 0.3
    erase: float = 0.0
    erase_size: float = 0.5

    def __post_init__(self) -> None:
        for name in ("pad", "operations"):
            if getattr(self, name) < 0:
                raise OptionError(f"Augment.{name}: got {getattr(self, name)}, allowed: 0 or more")
        if self.fill not in ("zero", "reflect"):
            raise OptionError(f"Augment.fill: got {self.fill!r}, allowed: zero, reflect")
        for name in ("magnitude", "erase", "erase_size"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise OptionError(f"Augment.{name}: got {getattr(self, name)}, allowed: 0 to 1")

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        """(N, C, H, W) in [0,1] -> the same; draws come from the generator alone."""
        if self.pad:
            images = _crop(images, self.pad, self.fill, generator.at("crop"))
        if self.flip:
            mirror = generator.at("flip").uniform(()) < 0.5
            images = torch.where(mirror.reshape(-1, 1, 1, 1), images.flip(-1), images)
        for number in range(self.operations):
            images = _operate(images, self.magnitude, generator.at("operation", number))
        if self.erase:
            images = _erase(images, self.erase, self.erase_size, generator.at("erase"))
        return images


def _crop(images: Tensor, pad: int, fill: str, generator: SampleGenerator) -> Tensor:
    """Each image moved by a whole number of pixels in -pad..pad on both axes."""
    count, _, height, width = images.shape
    if fill == "reflect" and pad >= min(height, width):
        raise OptionError(f"Augment.pad: got {pad} with fill 'reflect', allowed: below {min(height, width)}")
    padded = F.pad(images, [pad] * 4, mode="constant" if fill == "zero" else fill)
    corner = generator.integers(0, 2 * pad, (2,))
    rows = corner[:, :1] + torch.arange(height, device=images.device)
    columns = corner[:, 1:] + torch.arange(width, device=images.device)
    sample = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _operate(images: Tensor, magnitude: float, generator: SampleGenerator) -> Tensor:
    """One of the nine operations for each sample: 0 nothing, 1 to 5 geometric, 6 to 8 of colour."""
    kind = generator.at("kind").integers(0, 8)
    amount = magnitude * (2.0 * generator.at("amount").uniform(()) - 1.0).sign()
    moved = torch.where(_column(kind <= 5), _move(images, kind, amount), _recolour(images, kind, amount))
    return torch.where(_column(kind == 0), images, moved).clamp(0.0, 1.0)


def _column(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)


def _move(images: Tensor, kind: Tensor, amount: Tensor) -> Tensor:
    """Rotate (1), shear x (2), shear y (3), translate x (4), translate y (5), bilinear, zeros from outside.

    Grid coordinates reach from -1 to 1 on both axes: the rotation carries the aspect, and a third of the side is 2/3.
    """
    height, width = images.shape[2:]
    nought = torch.zeros_like(amount)
    angle = torch.where(kind == 1, amount * math.radians(30.0), nought)
    cosine, sine = angle.cos(), angle.sin()
    across = torch.where(kind == 2, 0.3 * amount, -sine) * (height / width)
    down = torch.where(kind == 3, 0.3 * amount, sine) * (width / height)
    right = torch.where(kind == 4, (2.0 / 3.0) * amount, nought)
    low = torch.where(kind == 5, (2.0 / 3.0) * amount, nought)
    theta = torch.stack([torch.stack([cosine, across, right], 1), torch.stack([down, cosine, low], 1)], 1)
    grid = F.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _recolour(images: Tensor, kind: Tensor, amount: Tensor) -> Tensor:
    """anchor + factor (x - anchor): brightness (6, anchor 0), contrast (7, mean), saturation (8, the pixel's grey)."""
    grey = images.mean(1, keepdim=True)
    level = grey.mean((2, 3), keepdim=True).expand_as(grey)
    anchor = torch.where(_column(kind == 7), level, torch.where(_column(kind == 8), grey, 0.0))
    return anchor + _column(1.0 + 0.9 * amount) * (images - anchor)


def _erase(images: Tensor, chance: float, share: float, generator: SampleGenerator) -> Tensor:
    """A square of zeros with its centre at a random pixel, cut at the edges."""
    height, width = images.shape[2:]
    side = round(share * min(height, width))
    top = generator.at("row").integers(0, height - 1) - side // 2
    left = generator.at("column").integers(0, width - 1) - side // 2
    rows = torch.arange(height, device=images.device) - top[:, None]
    columns = torch.arange(width, device=images.device) - left[:, None]
    inside = ((rows >= 0) & (rows < side))[:, None, :, None] & ((columns >= 0) & (columns < side))[:, None, None, :]
    chosen = _column(generator.at("chance").uniform(()) < chance)
    return images.masked_fill(inside & chosen, 0.0)
