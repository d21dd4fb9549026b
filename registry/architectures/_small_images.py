"""How networks made for 224x224 images are fitted to small ones, and how far they reduce them. No timm in here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from matx.errors import ModelError

__all__ = ["SMALL_STEMS", "output_stride", "patch_size", "use_small_stem"]

SMALL_STEMS: Mapping[str, tuple[str, str | None]] = {
    "densenet": ("features.conv0", "features.pool0"),
    "efficientnet": ("conv_stem", None),
    "ghostnet": ("conv_stem", None),
    "hardcorenas": ("conv_stem", None),
    "mobilenetv3": ("conv_stem", None),
    "regnet": ("stem", None),
    "repghost": ("conv_stem", None),
    "res2net": ("conv1", "maxpool"),
    "resnest": ("conv1", "maxpool"),
    "resnet": ("conv1", "maxpool"),
    "resnetv2": ("stem", "stem.pool"),
    "senet": ("layer0", "pool0"),
    "sknet": ("conv1", "maxpool"),
}
"""{timm family: (path of the stem, path of the pooling behind it)} of the families with a small-image stem."""


def use_small_stem(model: nn.Module, family: str) -> None:
    """Make the stem 3x3 with stride 1 and leave out the pooling behind it (deep stems keep their 3x3 convolutions)."""
    stem, pool = SMALL_STEMS[family]
    if pool is not None:
        model.set_submodule(pool, nn.Identity())
        if "pad" in dict(model.get_submodule(stem).named_children()):
            model.set_submodule(f"{stem}.pad", nn.Identity())
    for path, module in list(model.named_modules()):
        if not (path == stem or path.startswith(f"{stem}.")) or not isinstance(module, nn.Conv2d):
            continue
        if max(module.kernel_size) > 3:
            model.set_submodule(path, _as_3x3(module))
        elif max(module.stride) > 1:
            module.stride = (1, 1)


def _as_3x3(conv: nn.Conv2d) -> nn.Conv2d:
    """A fresh 3x3 convolution of the same kind and width with stride 1."""
    small = type(conv)(conv.in_channels, conv.out_channels, 3, stride=1, padding=1, bias=conv.bias is not None)
    nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
    return small


def patch_size(height: int, width: int, native: int, reduction: int) -> int:
    """The largest patch, at most the native one, that divides the image, leaves 8 patches a side and a 2x2 output.

    `reduction` is how much the network shrinks the grid of patches (1 for a plain vision transformer). 1 where no
    patch does all that.
    """
    side = min(height, width)
    for patch in range(min(native, side // 8), 1, -1):
        if math.gcd(height, width) % patch == 0 and side >= 2 * patch * reduction:
            return patch
    return 1


def output_stride(model: nn.Module, image_shape: tuple[int, int, int], num_classes: int) -> int | None:
    """Image height over the height of the last feature map, rounded up; None where the network does not show one.

    One forward of two images in train mode, meant for the meta device. ModelError where it does not give (2, classes).
    """
    device = next(model.parameters()).device
    seen: list[object] = []
    forward_features: Callable[..., Any] = getattr(model, "forward_features", lambda x: None)

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append(forward_features(*args, **kwargs))
        return seen[-1]

    if hasattr(model, "forward_features"):
        # timm's forward calls it through the instance, so that an attribute there sees what passes.
        model.__dict__["forward_features"] = watched
    with torch.no_grad():
        logits = model.train()(torch.empty(2, *image_shape, device=device))
    if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"it gives {got} for two images, allowed: a tensor of logits (2, {num_classes})")
    features = seen[-1] if seen else None
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        return None
    if features.ndim == 3:
        height = math.isqrt(features.shape[1])
    else:
        height = features.shape[1 if getattr(model, "output_fmt", "NCHW") == "NHWC" else 2]
    return math.ceil(image_shape[1] / max(1, int(height)))
