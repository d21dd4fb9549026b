"""A tiny CNN for CPUs and small images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

from torch import nn

import matx
from matx.data import Data
from matx.errors import ModelError
from matx.interfaces import Library, LibraryForm
from matx.options import Range
from registry.architectures._library import TIMM, library_form
from registry.architectures._networks import tiny_net


@matx.architectures.register("tiny")
@dataclass(frozen=True, kw_only=True)
class Tiny:
    """Three 3x3 convolutions with BatchNorm and ReLU, width w, 2w, 4w, strides 1, 2, 2; pooled to 2x2; linear.

    Output stride 4; about 26,000 parameters at width 16. Quick on 8x8 to 32x32 images. timm knows it as `matx_tiny`.
    """

    library: ClassVar[Library] = TIMM

    width: Annotated[int, Range(1)] = 16

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        height, width = image_shape[1:]
        if min(height, width) < 5:
            raise ModelError(f"architectures.tiny: got images of {height}x{width}, allowed: at least 5x5 pixels")
        return tiny_net(num_classes=num_classes, in_chans=image_shape[0], width=self.width)

    def library_form(self, data: Data) -> LibraryForm:
        return library_form("matx_tiny", asdict(self), data)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """The default and a narrow one."""
        return [cls(), cls(width=4)]
