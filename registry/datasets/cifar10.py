"""CIFAR-10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import matx
from matx.data import Data
from matx.effect import NO_EFFECT
from registry.datasets._cifar import source, write_noise
from registry.datasets._torchvision import load

_SOURCE = source("cifar10", "CIFAR10")


@matx.datasets.register("cifar10")
@dataclass(frozen=True, kw_only=True)
class CIFAR10:
    """CIFAR-10: 50,000 training and 10,000 test images, (3, 32, 32) uint8, 10 classes.

    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". Read by torchvision from
    `root`/cifar-10-batches-py; DataError where it is not there and `download` is False, or it cannot be fetched.
    """

    root: str = field(default="data", metadata=NO_EFFECT)
    download: bool = field(default=False, metadata=NO_EFFECT)
    verify: bool = field(default=True, metadata=NO_EFFECT)
    """Check the published checksums (the files are pickles); False: take a cut-down copy of your own as it is."""

    def __call__(self) -> Data:
        return load(_SOURCE, root=self.root, download=self.download, verify=self.verify)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """One on noise in the real file format."""
        write_noise(
            tmp_path / "cifar-10-batches-py",
            meta="batches.meta",
            fine="",
            classes=10,
            batches=dict.fromkeys([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"], 20),
        )
        return [cls(root=str(tmp_path), verify=False)]
