"""What the wide residual networks share: everything but their depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from torch import nn

from matx.errors import OptionError
from registry.architectures._networks import wide_resnet
from registry.architectures._options import check_activation


@dataclass(frozen=True, kw_only=True)
class WideResNet:
    """Options and construction of a network; its name and depth are the component's."""

    name: ClassVar[str]
    depth: ClassVar[int]

    activation: str = "relu"
    dropout: float = 0.0
    """Probability of dropping a unit between the two convolutions of a block."""
    widen: int = 10

    def __post_init__(self) -> None:
        check_activation(self.name, self.activation)
        if not 0.0 <= self.dropout < 1.0:
            raise OptionError(f"architectures.{self.name}.dropout: got {self.dropout}, allowed: from 0 to below 1")
        if self.widen < 1:
            raise OptionError(f"architectures.{self.name}.widen: got {self.widen}, allowed: 1 or more")

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return wide_resnet(
            depth=self.depth,
            widen=self.widen,
            num_classes=num_classes,
            in_chans=image_shape[0],
            activation=self.activation,
            dropout=self.dropout,
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """A narrow one, so that the contracts are quick."""
        return [cls(widen=1)]
