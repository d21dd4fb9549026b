"""Counter-based randomness: a draw is a function of what it is for, never of what was drawn before."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SampleGenerator", "hashed", "seed_for"]

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def hashed(*parts: int | str, bits: int = 64) -> int:
    """A stable hash (blake2b) of the parts as an unsigned integer of so many bits; `1` and `"1"` differ."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=bits // 8).digest(), "little")


def seed_for(*parts: int | str) -> int:
    """A 32-bit seed for torch, numpy and random (torch's CPU generator keeps only the low 32 bits of a seed)."""
    return hashed(*parts, bits=32)


def _shift(x: Tensor, count: int) -> Tensor:
    """Logical right shift of int64 (torch shifts arithmetically)."""
    return (x >> count).bitwise_and_((1 << (64 - count)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The splitmix64 finaliser (Steele, Lea and Flood 2014), in wrapping int64 arithmetic; it overwrites its input."""
    x.bitwise_xor_(_shift(x, 30)).mul_(_FIRST)
    x.bitwise_xor_(_shift(x, 27)).mul_(_SECOND)
    return x.bitwise_xor_(_shift(x, 31))


@dataclass(frozen=True, eq=False)
class SampleGenerator:
    """Random draws keyed by a purpose and, per sample, by the sample's index in its dataset.

    The same (key, index) always gives the same draw: batch size, batch order, early exit and sharding change nothing.
    A fresh draw needs a fresh purpose: `generator.at("restart", 2).uniform((3, 32, 32))`.
    """

    key: int
    indices: Tensor
    """(N,) int64, each sample's index in its dataset."""

    def at(self, *names: int | str) -> SampleGenerator:
        """The generator for a narrower purpose, independent of this one."""
        return SampleGenerator(hashed(self.key, *names), self.indices)

    def select(self, rows: Tensor) -> SampleGenerator:
        """The generator of some of the samples (a boolean mask or indices into the batch)."""
        return SampleGenerator(self.key, self.indices[rows])

    def bits(self, shape: tuple[int, ...]) -> Tensor:
        """(N, *shape) int64, uniformly random bits."""
        count = math.prod(shape)
        key = self.key - (1 << 64) if self.key >= 1 << 63 else self.key
        rows = _mix(self.indices.to(torch.int64) * _GOLDEN ^ key)
        columns = torch.arange(1, count + 1, device=rows.device, dtype=torch.int64) * _GOLDEN
        return _mix(rows[:, None] + columns[None, :]).reshape(len(rows), *shape)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """(N, *shape) float32 in [0, 1)."""
        return _shift(self.bits(shape), 40).to(torch.float32).mul_(2.0**-24)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """(N, *shape) float32, standard normal (Box and Muller 1958)."""
        radius = (-2.0 * torch.log1p(-self.at("radius").uniform(shape))).sqrt()
        return radius * torch.cos(2.0 * math.pi * self.at("angle").uniform(shape))

    def laplace(self, shape: tuple[int, ...]) -> Tensor:
        """(N, *shape) float32, Laplace with scale 1."""
        size = -torch.log1p(-self.at("size").uniform(shape))
        return size * (self.at("sign").uniform(shape) - 0.5).ge_(0.0).mul_(2.0).sub_(1.0)

    def integers(self, low: int, high: int, shape: tuple[int, ...] = ()) -> Tensor:
        """(N, *shape) int64 in low..high, both included."""
        return low + (self.uniform(shape) * (high - low + 1)).to(torch.int64)
