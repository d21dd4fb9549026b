"""Random crops of padded images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

import matx
from matx.errors import OptionError
from matx.options import Range
from matx.randomness import SampleGenerator


@matx.augmentations.register("pad_crop")
@dataclass(frozen=True, kw_only=True)
class PadCrop:
    """Each image moved by a whole number of pixels in -pad..pad on both axes, all equally likely."""

    pad: Annotated[int, Range(0)] = 4
    fill: Literal["zero", "reflect"] = "zero"
    """What is beyond the edge: zeros, or the image reflected there."""

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        count, _, height, width = images.shape
        if self.fill == "reflect" and self.pad >= min(height, width):
            raise OptionError(
                "pad",
                owner="augmentations.pad_crop",
                got=f"{self.pad} with fill 'reflect'",
                allowed=f"below {min(height, width)}",
            )
        padded = F.pad(images, [self.pad] * 4, mode="constant" if self.fill == "zero" else self.fill)
        corner = generator.at("crop").integers(0, 2 * self.pad, (2,))
        rows = corner[:, :1] + torch.arange(height, device=images.device)
        columns = corner[:, 1:] + torch.arange(width, device=images.device)
        sample = torch.arange(count, device=images.device)[:, None, None]
        channels_last = padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
        return channels_last.permute(0, 3, 1, 2).contiguous()

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(pad=2, fill="reflect")]
