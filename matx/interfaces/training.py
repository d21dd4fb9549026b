"""The protocols of what a peer is trained with: optimizers, schedules of the learning rate, augmentations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from matx.randomness import SampleGenerator

__all__ = ["Augmentation", "Optimizer", "Schedule"]


@runtime_checkable
class Optimizer(Protocol):
    """How a peer's weights follow its gradients. A schedule scales the learning rate of every parameter group."""

    @property
    def clip(self) -> float | None:
        """The gradient's global l2 norm is clipped to this before each step; None: never."""
        ...

    def __call__(self, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        """A new torch optimizer of all these parameters, at its full learning rate; it changes none of them yet."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts."""
        ...


@runtime_checkable
class Schedule(Protocol):
    """The factor on the learning rate as a function of training time alone, so that a resumed run needs no state."""

    def at(self, epoch: float, epochs: int) -> float:
        """The factor, 0 or more, at a (fractional) epoch of so many."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts."""
        ...


@runtime_checkable
class Augmentation(Protocol):
    """A random change of training images. Its draws belong to samples, so that no sample depends on its batch."""

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        """(N, C, H, W) in [0,1] -> the same shape in [0,1]; all draws come from `generator.at(...)`."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts."""
        ...
