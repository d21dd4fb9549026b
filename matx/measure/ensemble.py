"""Several classifiers as one: the mean of their softmax outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["Ensemble"]


class Ensemble(nn.Module):
    """(N, C, H, W) images in [0,1] -> log( (1/K) sum_k softmax(z_k) ), (N, classes).

    It is a classifier like any other: attacked end to end, through all members at once.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        answers = torch.stack([member(images).float().log_softmax(1) for member in self.members])
        return answers.logsumexp(0) - math.log(len(self.members))
