"""Random mirroring."""

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


@matx.augmentations.register("flip")
@dataclass(frozen=True, kw_only=True)
class Flip:
    """Left to right, a share of the images."""

    probability: Annotated[float, Range(0, 1)] = 0.5

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        mirrored = generator.at("flip").uniform(()) < self.probability
        return torch.where(mirrored.reshape(-1, 1, 1, 1), images.flip(-1), images)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]
