"""A PreAct-ResNet for studies of many runs: three stages behind a stem that halves the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

from torch import nn

import matx
from matx.data import Data
from matx.interfaces import Library, LibraryForm
from matx.options import Range
from registry.architectures._library import TIMM, library_form
from registry.architectures._networks import small_preact_resnet


@matx.architectures.register("small_preact_resnet")
@dataclass(frozen=True, kw_only=True)
class SmallPreActResNet:
    """3x3 stem of stride `stem_stride`, three stages of pre-activation blocks of w, 2w, 4w, norm, ReLU, mean, linear.

    Blocks as in He et al. 2016 (arXiv 1603.05027). Output stride 4 times the stem's. At width 32 and one block a stage
    it has 0.31 M parameters for 10 classes of colour images; with a stem of stride 2 a 32x32 image costs 12.3 million
    multiplications. timm knows it as `matx_small_preact_resnet`.
    """

    library: ClassVar[Library] = TIMM

    width: Annotated[int, Range(1)] = 32
    blocks: Annotated[int, Range(1)] = 1
    """Of each stage."""
    stem_stride: Annotated[int, Range(1, 4)] = 2

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return small_preact_resnet(
            num_classes=num_classes,
            in_chans=image_shape[0],
            width=self.width,
            blocks=self.blocks,
            stem_stride=self.stem_stride,
        )

    def library_form(self, data: Data) -> LibraryForm:
        return library_form("matx_small_preact_resnet", asdict(self), data)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Narrow ones, with a stem of either stride."""
        return [cls(width=4), cls(width=4, blocks=2, stem_stride=1)]
