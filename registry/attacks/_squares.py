"""What Square draws on images: windows, one a sample, and the pyramids of its l2 and l1 versions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from matx.randomness import SampleGenerator


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A square of one side in each of n images, at its own place."""

    top: Tensor
    """(n,) int64."""
    left: Tensor
    side: int

    @classmethod
    def draw(cls, generator: SampleGenerator, side: int, height: int, width: int) -> Window:
        """A window anywhere inside the image, one a sample."""
        return cls.at(generator.uniform((2,)), side, height, width)

    @classmethod
    def at(cls, corners: Tensor, side: int, height: int, width: int) -> Window:
        """The window at corners (n, 2) in [0, 1), from the first place to the last."""
        top = (corners[:, 0] * (height - side + 1)).long()
        left = (corners[:, 1] * (width - side + 1)).long()
        return cls(top=top, left=left, side=side)

    def select(self, rows: Tensor) -> Window:
        """The windows of some of the images."""
        return Window(top=self.top[rows], left=self.left[rows], side=self.side)

    def covered(self, other: Window) -> Tensor:
        """(n, 1, side, side) fp32: 1 where another window of the same size covers this one, else 0."""
        steps = torch.arange(self.side, device=self.top.device)
        rows, columns = (
            ((entries >= 0) & (entries < self.side)).float()
            for entries in (steps + (self.top - other.top)[:, None], steps + (self.left - other.left)[:, None])
        )
        return (rows[:, :, None] * columns[:, None, :])[:, None]

    def _index(self, images: Tensor) -> Tensor:
        steps = torch.arange(self.side, device=images.device)
        rows = (self.top[:, None] + steps)[:, :, None]
        columns = (self.left[:, None] + steps)[:, None, :]
        flat = (rows * images.shape[3] + columns).flatten(1)
        return flat[:, None, :].expand(-1, images.shape[1], -1)

    def cut(self, images: Tensor) -> Tensor:
        """(n, C, side, side): what lies inside the window."""
        inside = images.flatten(2).gather(2, self._index(images))
        return inside.reshape(*images.shape[:2], self.side, self.side)

    def paste(self, images: Tensor, content: Tensor) -> Tensor:
        """(n, C, H, W) with the inside of the window replaced."""
        return images.flatten(2).scatter(2, self._index(images), content.flatten(2)).reshape(images.shape)


@lru_cache(maxsize=128)
def pyramids(side: int, norm: str, device: torch.device) -> Tensor:
    """(side, side) of norm 1: a pyramid of ones on the upper half, of minus ones on the lower.

    At Chebyshev distance r from the middle of its half the height of a pyramid is sum_{k>=r} 1 / (k+1)^p, p = 2 in l2
    and 4 in l1, to the largest k that fits (Andriushchenko et al. 2020, algorithm 3; Croce and Hein 2021 for l1).
    """
    upper, lower = _pyramid(side // 2, side, norm), _pyramid(side - side // 2, side, norm)
    both = torch.cat([upper, -lower])
    return (both / _length(both, norm)).to(device)


def _pyramid(height: int, width: int, norm: str) -> Tensor:
    if height == 0:
        return torch.zeros(0, width)
    power = {"l2": 2, "l1": 4}[norm]
    rows = (torch.arange(height) - height // 2).abs()[:, None]
    columns = (torch.arange(width) - width // 2).abs()[None, :]
    layers = 1.0 / torch.arange(1, max(height, width) // 2 + 2).double() ** power
    heights = layers.flip(0).cumsum(0).flip(0)[torch.maximum(rows, columns)].float()
    return heights / _length(heights, norm)


def _length(values: Tensor, norm: str) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(values, {"l2": 2, "l1": 1}[norm])
    return length


def turned(content: Tensor, flips: Tensor) -> Tensor:
    """The square contents (..., s, s), transposed where `flips` (...) says so."""
    return torch.where(flips[..., None, None], content.mT, content)


def tiles(generator: SampleGenerator, shape: tuple[int, ...], norm: str) -> Tensor:
    """(n, C, H, W): pyramids of random sign and direction on a grid of about five by five, the start of l2 and l1."""
    channels, height, width = shape
    side = max(1, min(height, width) // 5)
    down, across = height // side, width // side
    signs = generator.at("sign").uniform((channels, down, across)) < 0.5
    flips = generator.at("flip").uniform((1, down, across)) < 0.5
    content = turned(pyramids(side, norm, signs.device).expand(*flips.shape, side, side), flips)
    content = torch.where(signs[..., None, None], content, -content)
    grid = content.transpose(3, 4).reshape(len(signs), channels, down * side, across * side)
    canvas = torch.zeros(len(signs), *shape, device=signs.device)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    canvas[:, :, top : top + down * side, left : left + across * side] = grid
    return canvas
