"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import torch
from torch import nn

import matx
from matx.errors import OptionError
from matx.options import Range
from registry.optimizers._groups import groups


@matx.optimizers.register("sgd")
@dataclass(frozen=True, kw_only=True)
class SGD:
    """v <- momentum v + g + weight_decay w; w <- w - lr v (torch's convention); Nesterov: w <- w - lr (g + momentum v).

    With Nesterov's momentum g stands for the gradient with its weight decay.
    """

    lr: Annotated[float, Range(0)] = 0.1
    momentum: Annotated[float, Range(0, 1, open="high")] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Range(0)] = 5e-4
    decay_norm_and_bias: bool = True
    """False: weight decay leaves normalisation parameters and biases alone."""
    clip: Annotated[float, Range(0)] | None = None
    """Clip the gradient's global l2 norm to this; None: never."""

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0.0:
            raise OptionError("nesterov", got="True with momentum 0", allowed="False there")

    def __call__(self, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        found = groups(parameters, self.weight_decay, decay_norm_and_bias=self.decay_norm_and_bias)
        return torch.optim.SGD(found, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(lr=0.05, nesterov=True, decay_norm_and_bias=False, clip=1.0)]
