"""A few random operations of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor

import matx
from matx.errors import OptionError
from matx.randomness import SampleGenerator
from registry.augmentations._torchvision import per_sample


@matx.augmentations.register("rand_augment")
@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """So many operations per image, drawn with replacement from fourteen (torchvision's RandAugment).

    Cubuk et al. 2019 (arXiv 1909.13719). The set has: nothing, shears, translations, rotation, brightness, colour,
    contrast, sharpness, posterise, solarise, autocontrast, equalise.
    """

    operations: int = 2
    magnitude: int = 9
    """Of 30: how far the operations go; the sign is random."""

    def __post_init__(self) -> None:
        for name, most in {"operations": 20, "magnitude": 30}.items():
            if not 0 <= getattr(self, name) <= most:
                raise OptionError(f"augmentations.rand_augment.{name}: got {getattr(self, name)}, allowed: 0 to {most}")

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        from torchvision.transforms import v2

        transform = v2.RandAugment(self.operations, self.magnitude)
        return per_sample(transform, images, generator.at("rand_augment"))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(operations=1, magnitude=14)]
