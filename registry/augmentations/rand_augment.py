"""A few random operations of one size."""

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


@matx.augmentations.register("rand_augment")
@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """So many operations per image, drawn with replacement from fourteen (torchvision's RandAugment).

    Cubuk et al. 2019 (arXiv 1909.13719). The set has: nothing, shears, translations, rotation, brightness, colour,
    contrast, sharpness, posterise, solarise, autocontrast, equalise.
    """

    operations: Annotated[int, Range(0, 20)] = 2
    magnitude: Annotated[int, Range(0, 30)] = 9
    """Of 30: how far the operations go; the sign is random."""

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        from torchvision.transforms import v2

        transform = v2.RandAugment(self.operations, self.magnitude)
        return per_sample(transform, images, generator.at("rand_augment"))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(operations=1, magnitude=14)]
