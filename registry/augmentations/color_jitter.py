"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from torch import Tensor

import matx
from matx.options import Range
from matx.randomness import SampleGenerator
from registry.augmentations._torchvision import per_sample


@matx.augmentations.register("color_jitter")
@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """torchvision's ColorJitter: each of the four is changed by a factor drawn from 1 - x to 1 + x, in random order.

    The hue is turned by a share of the colour circle drawn from -x to x. Grey images keep saturation and hue.
    """

    brightness: Annotated[float, Range(0, 1)] = 0.25
    contrast: Annotated[float, Range(0, 1)] = 0.25
    saturation: Annotated[float, Range(0, 1)] = 0.25
    hue: Annotated[float, Range(0, 0.5)] = 0.0

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        from torchvision.transforms import v2

        jitter = v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue)
        return per_sample(jitter, images, generator.at("color_jitter"))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(brightness=0.0, hue=0.1)]
