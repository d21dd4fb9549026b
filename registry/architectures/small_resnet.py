"""The small ResNets of the CIFAR experiments in the ResNet paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

from torch import nn

import matx
from matx.data import Data
from matx.errors import OptionError
from matx.interfaces import Library, LibraryForm
from matx.options import Range
from registry.architectures._library import TIMM, library_form
from registry.architectures._networks import small_resnet


@matx.architectures.register("small_resnet")
@dataclass(frozen=True, kw_only=True)
class SmallResNet:
    """The CIFAR ResNet of depth 6n+2: a 3x3 stem, three stages of n basic blocks of width w, 2w, 4w, mean, linear.

    Source: He et al. 2015 (arXiv 1512.03385), section 4.2, with 1x1 convolutions on the shortcuts that change width.
    Output stride 4; 0.27 M parameters at depth 20 and width 16. timm knows it as `matx_small_resnet`.
    """

    library: ClassVar[Library] = TIMM

    depth: int = 8
    width: Annotated[int, Range(1)] = 16

    def __post_init__(self) -> None:
        if self.depth < 8 or (self.depth - 2) % 6:
            raise OptionError("depth", got=str(self.depth), allowed="8, 14, 20, 26, ... (6n+2)")

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return small_resnet(num_classes=num_classes, in_chans=image_shape[0], depth=self.depth, width=self.width)

    def library_form(self, data: Data) -> LibraryForm:
        return library_form("matx_small_resnet", asdict(self), data)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Narrow ones of two depths."""
        return [cls(width=4), cls(depth=14, width=4)]
