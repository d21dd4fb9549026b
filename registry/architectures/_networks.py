"""The networks of our own architectures, in plain torch; `_zoo` makes them known to timm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, fx, nn

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "ConvClassifier",
    "preact_resnet",
    "small_preact_resnet",
    "small_resnet",
    "tiny_net",
    "wide_resnet",
]

Activation = Literal["relu", "softplus", "silu"]
ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "softplus": nn.Softplus, "silu": nn.SiLU}
"""Activations by name; softplus has beta 1."""


class ConvClassifier(nn.Module):
    """A body of convolutions, pooled to a `pool` x `pool` grid, and one linear layer; timm's model methods."""

    def __init__(self, body: nn.Module, num_features: int, num_classes: int, pool: int = 1) -> None:
        super().__init__()
        self.body = body
        self.num_features = num_features
        self.pool = pool
        self.num_classes = num_classes
        self.fc = nn.Linear(num_features * pool**2, num_classes)
        for module in body.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh last layer for so many classes."""
        self.num_classes = num_classes
        self.fc = nn.Linear(self.fc.in_features, num_classes).to(self.fc.weight)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, features, h, w)."""
        features: Tensor = self.body(x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, features, h, w) -> (N, classes), or (N, features x pool x pool) before the last layer."""
        flat = _pooled(x, self.pool).flatten(1)
        logits: Tensor = flat if pre_logits else self.fc(flat)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes) logits."""
        return self.forward_head(self.forward_features(x))


def _pooled(x: Tensor, size: int) -> Tensor:
    """(N, C, h, w) averaged to a size x size grid (adaptive pooling has no deterministic backward on CUDA)."""
    if size == 1:
        return x.mean((2, 3))
    step = (x.shape[2] // size, x.shape[3] // size)
    window = (x.shape[2] - (size - 1) * step[0], x.shape[3] - (size - 1) * step[1])
    return F.avg_pool2d(x, window, step)


fx.wrap("_pooled")  # traced as one operation: older torch cannot trace a pooling whose window depends on the images


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class PreActBlock(nn.Module):
    """norm, act, conv, norm, act, dropout, conv; the shortcut is a 1x1 convolution of act1, or nothing."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: type[nn.Module], dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.act1 = nn.BatchNorm2d(inputs), act()
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.norm2, self.act2 = nn.BatchNorm2d(outputs), act()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = _conv3x3(outputs, outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h / stride, w / stride)."""
        active = self.act1(self.norm1(x))
        skip: Tensor = x if self.shortcut is None else self.shortcut(active)
        change: Tensor = self.conv2(self.dropout(self.act2(self.norm2(self.conv1(active)))))
        return skip + change


class BasicBlock(nn.Module):
    """conv, norm, relu, conv, norm, added to the shortcut, relu; the shortcut is conv 1x1 and norm, or nothing."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            project = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h / stride, w / stride)."""
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


def _stage_shapes(widths: Sequence[int], first: int, blocks: int) -> list[tuple[int, int, int]]:
    """(inputs, outputs, stride) of every block: each stage after the first halves the size in its first block."""
    shapes, inputs = [], first
    for number, width in enumerate(widths):
        for block in range(blocks):
            shapes.append((inputs, width, 2 if number and not block else 1))
            inputs = width
    return shapes


def tiny_net(*, num_classes: int = 10, in_chans: int = 3, width: int = 16) -> ConvClassifier:
    """Three convolutions with norm and ReLU, strides 1, 2, 2, pooled to 2x2."""
    widths = (in_chans, width, 2 * width, 4 * width)
    layers: list[nn.Module] = []
    for inputs, outputs, stride in zip(widths[:-1], widths[1:], (1, 2, 2), strict=True):
        layers += [_conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU()]
    return ConvClassifier(nn.Sequential(*layers), widths[-1], num_classes, pool=2)


def small_resnet(*, num_classes: int = 10, in_chans: int = 3, depth: int = 8, width: int = 16) -> ConvClassifier:
    """The CIFAR ResNet of depth 6n+2: three stages of n basic blocks, width w, 2w, 4w."""
    layers: list[nn.Module] = [_conv3x3(in_chans, width), nn.BatchNorm2d(width), nn.ReLU()]
    shapes = _stage_shapes((width, 2 * width, 4 * width), width, (depth - 2) // 6)
    layers += [BasicBlock(*shape) for shape in shapes]
    return ConvClassifier(nn.Sequential(*layers), 4 * width, num_classes)


def preact_resnet(
    *, num_classes: int = 10, in_chans: int = 3, activation: str = "relu", final_norm: bool = True, width: int = 64
) -> ConvClassifier:
    """PreAct-ResNet-18: four stages of two pre-activation blocks, width w, 2w, 4w, 8w."""
    act = ACTIVATIONS[activation]
    shapes = _stage_shapes((width, 2 * width, 4 * width, 8 * width), width, 2)
    layers: list[nn.Module] = [_conv3x3(in_chans, width), *(PreActBlock(*shape, act) for shape in shapes)]
    if final_norm:
        layers += [nn.BatchNorm2d(8 * width), act()]
    return ConvClassifier(nn.Sequential(*layers), 8 * width, num_classes)


def small_preact_resnet(
    *, num_classes: int = 10, in_chans: int = 3, width: int = 32, blocks: int = 1, stem_stride: int = 2
) -> ConvClassifier:
    """Three stages of so many pre-activation blocks, width w, 2w, 4w; norm and ReLU."""
    shapes = _stage_shapes((width, 2 * width, 4 * width), width, blocks)
    layers: list[nn.Module] = [_conv3x3(in_chans, width, stem_stride), *(PreActBlock(*s, nn.ReLU) for s in shapes)]
    layers += [nn.BatchNorm2d(4 * width), nn.ReLU()]
    return ConvClassifier(nn.Sequential(*layers), 4 * width, num_classes)


def wide_resnet(
    *,
    depth: int,
    widen: int,
    num_classes: int = 10,
    in_chans: int = 3,
    activation: str = "relu",
    dropout: float = 0.0,
) -> ConvClassifier:
    """WRN-depth-widen: three stages of (depth - 4) / 6 pre-activation blocks, width 16k, 32k, 64k; norm and act."""
    act = ACTIVATIONS[activation]
    shapes = _stage_shapes((16 * widen, 32 * widen, 64 * widen), 16, (depth - 4) // 6)
    blocks = [PreActBlock(*shape, act, dropout) for shape in shapes]
    body = nn.Sequential(_conv3x3(in_chans, 16), *blocks, nn.BatchNorm2d(64 * widen), act())
    return ConvClassifier(body, 64 * widen, num_classes)
