"""Common corruptions of images at five severities, as Hendrycks and Dietterich (2019, arXiv 1903.12261) define them.

Strengths and order of operations are those by which CIFAR-10-C and ImageNet-C were made; draws are other ones, and
images are rounded to 8 bits where theirs were cut off.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from matx.randomness import SampleGenerator

if TYPE_CHECKING:
    from PIL import Image

SEVERITIES = range(1, 6)
Name = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "gaussian_blur",
    "brightness", "contrast", "saturate", "pixelate", "jpeg_compression",
]  # fmt: skip
"""Those of the published datasets' files."""


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """A corruption, and its strengths at severities 1 to 5."""

    corrupt: Callable[..., Tensor]
    """corrupt(images, draws, *strength): (N, C, H, W) float64 in [0,1] -> the same shape, clipped by the caller."""
    cifar: Sequence[tuple[float, ...]]
    """Of CIFAR-10-C."""
    imagenet: Sequence[tuple[float, ...]]
    """Of ImageNet-C."""
    channels: int | None = None
    """The only number of channels that it is defined for; None: any."""


def corrupted(images: Tensor, corruption: Corruption, strength: tuple[float, ...], draws: SampleGenerator) -> Tensor:
    """(N, C, H, W) corrupted images, clipped to [0,1] and rounded to 8 bits; type and device of the images."""
    found = corruption.corrupt(images.double().cpu(), draws, *strength).clamp(0.0, 1.0)
    return ((found * 255.0).round() / 255.0).to(images)


def _gaussian_noise(images: Tensor, draws: SampleGenerator, scale: float) -> Tensor:
    return images + scale * draws.normal(tuple(images.shape[1:]))


def _speckle_noise(images: Tensor, draws: SampleGenerator, scale: float) -> Tensor:
    return images + images * scale * draws.normal(tuple(images.shape[1:]))


def _shot_noise(images: Tensor, draws: SampleGenerator, photons: float) -> Tensor:
    seeds = (draws.bits(()) & ((1 << 63) - 1)).tolist()
    expected = zip(seeds, (photons * images).numpy(), strict=True)
    counts = [np.random.default_rng(seed).poisson(image) for seed, image in expected]
    return torch.from_numpy(np.stack(counts)) / photons


def _impulse_noise(images: Tensor, draws: SampleGenerator, share: float) -> Tensor:
    draw = draws.uniform(tuple(images.shape[1:]))
    return torch.where(draw < share, (draw < share / 2).double(), images)


def _gaussian_blur(images: Tensor, draws: SampleGenerator, sigma: float) -> Tensor:
    from scipy.ndimage import gaussian_filter  # slow to import, and every command imports this file

    return torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4.0))


def _brightness(images: Tensor, draws: SampleGenerator, added: float) -> Tensor:
    """The value of HSV, the largest channel, raised; hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    raised = (value + added).clamp_max(1.0)
    return torch.where(value > 0, images * raised / value.clamp_min(1e-12), raised)


def _saturate(images: Tensor, draws: SampleGenerator, factor: float, added: float) -> Tensor:
    """The saturation of HSV times a factor, plus a number; a grey pixel has the hue red, by convention."""
    value = images.amax(1, keepdim=True)
    spread = value - images.amin(1, keepdim=True)
    red = torch.tensor([0.0, 1.0, 1.0], dtype=images.dtype).reshape(1, 3, 1, 1)
    hue = torch.where(spread > 0, (value - images) / spread.clamp_min(1e-12), red)
    saturation = (spread / value.clamp_min(1e-12) * factor + added).clamp(0.0, 1.0)
    return value * (1.0 - saturation * hue)


def _contrast(images: Tensor, draws: SampleGenerator, factor: float) -> Tensor:
    mean = images.mean((2, 3), keepdim=True)
    return mean + factor * (images - mean)


def _jpeg_compression(images: Tensor, draws: SampleGenerator, quality: float) -> Tensor:
    from PIL import Image  # a part of a second, which listing components need not wait for

    def through_a_file(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _by_pillow(images, through_a_file)


def _pixelate(images: Tensor, draws: SampleGenerator, share: float) -> Tensor:
    from PIL import Image

    def coarser(image: Image.Image) -> Image.Image:
        width, height = (max(1, int(side * share)) for side in image.size)
        return image.resize((width, height), Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)

    return _by_pillow(images, coarser)


def _by_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """What Pillow makes of each 8-bit image: of three channels as RGB, else of each channel as a grey one."""
    from PIL import Image

    levels = (images * 255.0).round().to(torch.uint8)
    if images.shape[1] == 3:
        changed = [np.asarray(change(Image.fromarray(image))) for image in levels.permute(0, 2, 3, 1).numpy()]
        return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).double() / 255.0
    changed = [np.asarray(change(Image.fromarray(channel))) for channel in levels.flatten(0, 1).numpy()]
    return torch.from_numpy(np.stack(changed)).reshape(images.shape).double() / 255.0


def _each(*strengths: float) -> tuple[tuple[float, ...], ...]:
    return tuple((strength,) for strength in strengths)


CORRUPTIONS: Mapping[Name, Corruption] = {
    "gaussian_noise": Corruption(
        corrupt=_gaussian_noise,
        cifar=_each(0.04, 0.06, 0.08, 0.09, 0.10),
        imagenet=_each(0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    "shot_noise": Corruption(corrupt=_shot_noise, cifar=_each(500, 250, 100, 75, 50), imagenet=_each(60, 25, 12, 5, 3)),
    "impulse_noise": Corruption(
        corrupt=_impulse_noise,
        cifar=_each(0.01, 0.02, 0.03, 0.05, 0.07),
        imagenet=_each(0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    "speckle_noise": Corruption(
        corrupt=_speckle_noise,
        cifar=_each(0.06, 0.10, 0.12, 0.16, 0.20),
        imagenet=_each(0.15, 0.20, 0.35, 0.45, 0.60),
    ),
    "gaussian_blur": Corruption(
        corrupt=_gaussian_blur, cifar=_each(0.4, 0.6, 0.7, 0.8, 1.0), imagenet=_each(1, 2, 3, 4, 6)
    ),
    "brightness": Corruption(
        corrupt=_brightness, cifar=_each(0.05, 0.10, 0.15, 0.20, 0.30), imagenet=_each(0.1, 0.2, 0.3, 0.4, 0.5)
    ),
    "contrast": Corruption(
        corrupt=_contrast, cifar=_each(0.75, 0.50, 0.40, 0.30, 0.15), imagenet=_each(0.40, 0.30, 0.20, 0.10, 0.05)
    ),
    "saturate": Corruption(
        corrupt=_saturate,
        cifar=((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
        imagenet=((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
        channels=3,
    ),
    "pixelate": Corruption(
        corrupt=_pixelate, cifar=_each(0.95, 0.90, 0.85, 0.75, 0.65), imagenet=_each(0.60, 0.50, 0.40, 0.30, 0.25)
    ),
    "jpeg_compression": Corruption(
        corrupt=_jpeg_compression, cifar=_each(80, 65, 58, 50, 40), imagenet=_each(25, 18, 15, 10, 7)
    ),
}
"""How each is made."""
