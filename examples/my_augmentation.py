"""A plug-in: one file that registers one new augmentation. Copy it, rename it, change what happens to images.

matx show augmentations.gain --plugin examples/my_augmentation.py
matx check augmentations.gain --plugin examples/my_augmentation.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from torch import Tensor

import matx
from matx.options import Range
from matx.randomness import SampleGenerator


@matx.augmentations.register("gain")
@dataclass(frozen=True, kw_only=True)
class Gain:
    """x <- clip(g x, 0, 1), with a factor g drawn uniformly from [1 - strength, 1 + strength] for each image."""

    # Options are fields; their annotation says what gin files, `matx show` and `matx tune` allow.
    strength: Annotated[float, Range(0, 1)] = 0.2
    """How far the factor lies from 1 at most."""

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        # (N, C, H, W) fp32 in [0,1]; return new images of the same form, and leave these as they are. Every draw comes
        # from `generator`, one a sample, keyed by a purpose: an image is changed alike whatever its batch.
        drawn = generator.at("gain").uniform((1, 1, 1))  # (N, 1, 1, 1) in [0, 1)
        return (images * (1.0 + self.strength * (2.0 * drawn - 1.0))).clamp(0.0, 1.0)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """An instance for each way of use: the contracts are tried on these."""
        return [cls(), cls(strength=0.0)]
