"""PreAct-ResNet-18, the usual network of CIFAR experiments on unions of threat models."""

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
from registry.architectures._networks import Activation, preact_resnet


@matx.architectures.register("preact_resnet18")
@dataclass(frozen=True, kw_only=True)
class PreActResNet18:
    """3x3 stem, four stages of two pre-activation blocks of width w, 2w, 4w, 8w, (norm, act), mean, linear.

    Source: He et al. 2016 (arXiv 1603.05027), in the form for CIFAR. Output stride 8; 11.17 M parameters for 10
    classes at width 64. Maini et al. 2020 (MSD) leave out the last norm and activation (`final_norm=False`); E-AT and
    RAMP use `activation='softplus'` (beta 1). timm knows it as `preact_resnet18`.
    """

    library: ClassVar[Library] = TIMM

    activation: Activation = "relu"
    final_norm: bool = True
    """BatchNorm and activation after the last block, as pre-activation asks for."""
    width: Annotated[int, Range(1)] = 64

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return preact_resnet(
            num_classes=num_classes,
            in_chans=image_shape[0],
            activation=self.activation,
            final_norm=self.final_norm,
            width=self.width,
        )

    def library_form(self, data: Data) -> LibraryForm:
        return library_form("preact_resnet18", asdict(self), data)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Narrow ones: with ReLU and last norm, with softplus and without."""
        return [cls(width=4), cls(width=4, activation="softplus", final_norm=False)]
