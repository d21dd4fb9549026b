"""The learnt policies of AutoAugment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from torch import Tensor

import matx
from matx.randomness import SampleGenerator
from registry.augmentations._torchvision import per_sample


@matx.augmentations.register("auto_augment")
@dataclass(frozen=True, kw_only=True)
class AutoAugment:
    """One of 25 pairs of operations per image, each with its own probability and size (torchvision's AutoAugment).

    Cubuk et al. 2019 (arXiv 1805.09501); their recipes put pad-crop and flip before it and cutout behind it.
    """

    policy: Literal["cifar10", "imagenet", "svhn"] = "cifar10"
    """The dataset on which the pairs were found."""

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        from torchvision.transforms import AutoAugmentPolicy, v2

        transform = v2.AutoAugment(AutoAugmentPolicy(self.policy))
        return per_sample(transform, images, generator.at("auto_augment"))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(policy="svhn")]
