"""Squares of zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import torch
from torch import Tensor

import matx
from matx.options import Range
from matx.randomness import SampleGenerator


@matx.augmentations.register("cutout")
@dataclass(frozen=True, kw_only=True)
class Cutout:
    """A square of zeros with its centre at a random pixel, cut at the edges.

    DeVries and Taylor 2017 (arXiv 1708.04552), whose squares have 16 of the 32 pixels of CIFAR-10, on every
    image, and 8 of those of CIFAR-100.
    """

    size: Annotated[float, Range(0, 1)] = 0.5
    """The side as a share of the shorter side of the image, rounded to whole pixels."""
    probability: Annotated[float, Range(0, 1)] = 1.0
    """The share of the images that lose a square."""

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        draws = generator.at("erase")
        height, width = images.shape[2:]
        side = round(self.size * min(height, width))
        top = draws.at("row").integers(0, height - 1) - side // 2
        left = draws.at("column").integers(0, width - 1) - side // 2
        rows = torch.arange(height, device=images.device) - top[:, None]
        columns = torch.arange(width, device=images.device) - left[:, None]
        inside = ((rows >= 0) & (rows < side))[:, None, :, None] & ((columns >= 0) & (columns < side))[:, None, None, :]
        chosen = draws.at("chance").uniform(()) < self.probability
        return images.masked_fill(inside & chosen.reshape(-1, 1, 1, 1), 0.0)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(size=0.25, probability=0.5)]
