"""Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import torch
from torch import nn

import matx
from matx.options import Range
from registry.optimizers._groups import groups


@matx.optimizers.register("adamw")
@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam whose weight decay is no part of the gradient: first w <- w - lr weight_decay w, then Adam's step.

    Loshchilov and Hutter 2019 (arXiv 1711.05101).
    """

    lr: Annotated[float, Range(0)] = 1e-3
    beta1: Annotated[float, Range(0, 1, open="high")] = 0.9
    """Decay of the moving average of g."""
    beta2: Annotated[float, Range(0, 1, open="high")] = 0.999
    """Decay of the moving average of g^2."""
    eps: Annotated[float, Range(0)] = 1e-8
    weight_decay: Annotated[float, Range(0)] = 0.01
    decay_norm_and_bias: bool = True
    """False: weight decay leaves normalisation parameters and biases alone."""
    clip: Annotated[float, Range(0)] | None = None
    """Clip the gradient's global l2 norm to this; None: never."""

    def __call__(self, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        found = groups(parameters, self.weight_decay, decay_norm_and_bias=self.decay_norm_and_bias)
        return torch.optim.AdamW(found, lr=self.lr, betas=(self.beta1, self.beta2), eps=self.eps)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(lr=3e-3, weight_decay=0.1, decay_norm_and_bias=False, clip=1.0)]
