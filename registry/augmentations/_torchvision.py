"""torchvision's transforms, drawn per sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from matx.errors import DataError
from matx.randomness import SampleGenerator


def per_sample(transform: Callable[[Tensor], Tensor], images: Tensor, generator: SampleGenerator) -> Tensor:
    """Each image, rounded to 8 bits as published policies want it, through a transform of (C, H, W) uint8 images.

    torchvision draws from torch's global CPU generator: it is seeded with a draw of the sample's own before each image,
    and afterwards is as it was. One image at a time, since operations and sizes differ: 0.1 to 0.3 ms each at 32x32.
    """
    if images.shape[1] not in (1, 3):
        raise DataError(f"augmentation: got images of {images.shape[1]} channels, allowed: 1 or 3")
    levels = (images * 255.0).round().to(torch.uint8)
    seeds = generator.bits(()).tolist()
    before = torch.get_rng_state()
    try:
        changed = [_seeded(transform, image, seed) for image, seed in zip(levels, seeds, strict=True)]
    finally:
        torch.set_rng_state(before)
    return torch.stack(changed).to(images.dtype) / 255.0


def _seeded(transform: Callable[[Tensor], Tensor], image: Tensor, seed: int) -> Tensor:
    torch.default_generator.manual_seed(seed)
    return transform(image)
