"""What the wide residual networks share: everything but their depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

from torch import nn

from matx.data import Data
from matx.interfaces import Library, LibraryForm
from matx.options import Range
from registry.architectures._library import TIMM, library_form
from registry.architectures._networks import Activation, wide_resnet


@dataclass(frozen=True, kw_only=True)
class WideResNet:
    """Options and construction of a network; its name and depth are the component's."""

    library: ClassVar[Library] = TIMM

    name: ClassVar[str]
    depth: ClassVar[int]

    activation: Activation = "relu"
    dropout: Annotated[float, Range(0, 1, open="high")] = 0.0
    """Probability of dropping a unit between the two convolutions of a block."""
    widen: Annotated[int, Range(1)] = 10

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return wide_resnet(
            depth=self.depth,
            widen=self.widen,
            num_classes=num_classes,
            in_chans=image_shape[0],
            activation=self.activation,
            dropout=self.dropout,
        )

    def library_form(self, data: Data) -> LibraryForm:
        return library_form(self.name, asdict(self), data)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """A narrow one, so that the contracts are quick."""
        return [cls(widen=1)]
