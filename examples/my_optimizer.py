"""A plug-in: one file that registers one new optimizer. Copy it, rename it, change the step.

matx show optimizers.rmsprop --plugin examples/my_optimizer.py
matx check optimizers.rmsprop --plugin examples/my_optimizer.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import torch
from torch import nn

import matx
from matx.options import Range


@matx.optimizers.register("rmsprop")
@dataclass(frozen=True, kw_only=True)
class RMSprop:
    """v <- smoothing v + (1 - smoothing) g^2; w <- w - lr g / (sqrt(v) + 1e-8) (Hinton 2012, as torch has it)."""

    # Options are fields; their annotation says what gin files, `matx show` and `matx tune` allow.
    lr: Annotated[float, Range(0)] = 1e-3
    smoothing: Annotated[float, Range(0, 1, open="high")] = 0.99
    clip: Annotated[float, Range(0)] | None = None
    """The engine clips the gradient's global l2 norm to this before each step; None: never. Every optimizer has it."""

    def __call__(self, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        # {name: parameter} of the whole network: all of them, so that none is left untrained. Groups with options of
        # their own are made here, by name or shape. The schedule scales every group's `lr`.
        return torch.optim.RMSprop(list(parameters.values()), lr=self.lr, alpha=self.smoothing)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """An instance for each way of use: the contracts are tried on these."""
        return [cls(), cls(lr=0.01, smoothing=0.9, clip=1.0)]
