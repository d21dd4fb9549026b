"""Contracts of augmentations, on colour and grey images that are not square."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from matx.interfaces import Augmentation
from matx.randomness import SampleGenerator, hashed
from matx.testing.trial import device, require

__all__ = ["CONTRACTS", "belongs_to_the_sample", "draws_from_its_generator", "gives_images", "leaves_inputs_unchanged"]

_COUNT = 24


def _images(channels: int = 3) -> Tensor:
    """Random 8-bit pixels, as fp32 in [0,1]."""
    generator = torch.Generator().manual_seed(60)
    return torch.randint(0, 256, (_COUNT, channels, 12, 15), generator=generator).float().to(device()) / 255.0


def _draws(count: int = _COUNT) -> SampleGenerator:
    return SampleGenerator(hashed("contract"), torch.arange(count, device=device()) * 7)


def gives_images(augmentation: Augmentation) -> None:
    """fp32 images of the same shape, finite and in [0,1]; of one channel or three, a batch or one image."""
    for channels, count in ((3, _COUNT), (1, _COUNT), (3, 1)):
        images = _images(channels)[:count]
        result = augmentation(images, _draws(count))
        require(result.shape == images.shape, f"{augmentation!r} makes {tuple(images.shape)} {tuple(result.shape)}")
        require(result.dtype == images.dtype, f"{augmentation!r} makes {images.dtype} {result.dtype}")
        low, high = float(result.min()), float(result.max())
        require(low >= 0.0 and high <= 1.0, f"{augmentation!r} gives pixels in [{low:g}, {high:g}], not in [0, 1]")


def belongs_to_the_sample(augmentation: Augmentation) -> None:
    """A sample is changed alike, bit for bit, in another batch: runs of other batch sizes and shards are paired."""
    images = _images()
    whole = augmentation(images, _draws())
    rows = torch.tensor([17, 3, 11])
    some = augmentation(images[rows], _draws().select(rows))
    require(torch.equal(whole[rows], some), f"{augmentation!r} changes a sample differently in another batch")


def draws_from_its_generator(augmentation: Augmentation) -> None:
    """The same draws give the same images, whatever torch's generator holds, and that one is left as it was."""
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(augmentation(_images(), _draws()))
        require(torch.equal(before, torch.get_rng_state()), f"{augmentation!r} leaves torch's generator changed")
    require(
        torch.equal(*results), f"{augmentation!r} gives other images the second time: draw from its generator alone"
    )


def leaves_inputs_unchanged(augmentation: Augmentation) -> None:
    """The images that it is given are afterwards what they were."""
    images = _images()
    kept = images.clone()
    augmentation(images, _draws())
    require(torch.equal(images, kept), f"{augmentation!r} changes the images that it was given: return new ones")


CONTRACTS: tuple[Callable[[Any], None], ...] = (
    gives_images,
    belongs_to_the_sample,
    draws_from_its_generator,
    leaves_inputs_unchanged,
)
"""The contracts of this file."""
