"""The networks of our own architectures, in plain torch; `_zoo` makes them known to timm."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TinyNet"]


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class TinyNet(nn.Module):
    """Three convolutions, pooled to 2x2, one linear layer."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, width: int = 16) -> None:
        super().__init__()
        widths = (in_chans, width, 2 * width, 4 * width)
        self.num_classes = num_classes
        self.convs = nn.ModuleList(conv3x3(widths[i], widths[i + 1], stride=1 if i == 0 else 2) for i in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths[1:])
        self.fc = nn.Linear(4 * widths[-1], num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 4 width, ceil(H/4), ceil(W/4))."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes) logits."""
        x = self.forward_features(x)
        # Pooling with a step of half the size: adaptive pooling has no deterministic backward on CUDA.
        step = (x.shape[2] // 2, x.shape[3] // 2)
        pooled = F.avg_pool2d(x, (x.shape[2] - step[0], x.shape[3] - step[1]), step)
        logits: Tensor = self.fc(pooled.flatten(1))
        return logits
