"""A plug-in: one file that registers one new architecture. Copy it, rename it, change the network.

matx show architectures.mlp --plugin examples/my_architecture.py
matx check architectures.mlp --plugin examples/my_architecture.py
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from torch import nn

import matx
from matx.options import Range


@matx.architectures.register("mlp")
@dataclass(frozen=True, kw_only=True)
class MLP:
    """Two linear layers with a ReLU between them, on the pixels as one vector."""

    # Options are fields; their annotation says what gin files, `matx show` and `matx tune` allow.
    width: Annotated[int, Range(1)] = 64
    """Units of the hidden layer."""

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        # Images arrive normalised: the mean and deviation of the dataset stand before the network, not in it. The
        # network gives logits. What it cannot take it refuses: raise matx.errors.ModelError(...).
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(image_shape), self.width),
            nn.ReLU(),
            nn.Linear(self.width, num_classes),
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """An instance for each way of use: the contracts are tried on these."""
        return [cls(), cls(width=8)]
