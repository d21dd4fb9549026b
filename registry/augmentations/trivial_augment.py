"""One random operation of a random size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor

import matx
from matx.randomness import SampleGenerator
from registry.augmentations._torchvision import per_sample


@matx.augmentations.register("trivial_augment")
@dataclass(frozen=True, kw_only=True)
class TrivialAugment:
    """One operation per image, of a size drawn from 31 (torchvision's TrivialAugmentWide).

    Mueller and Hutter 2021 (arXiv 2103.10158). The set is that of RandAugment, with wider ranges.
    """

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        from torchvision.transforms import v2

        return per_sample(v2.TrivialAugmentWide(), images, generator.at("trivial_augment"))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]
