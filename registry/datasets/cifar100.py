"""CIFAR-100 with its fine labels."""

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

_SOURCE = source("cifar100", "CIFAR100")


@matx.datasets.register("cifar100")
@dataclass(frozen=True, kw_only=True)
class CIFAR100:
    """CIFAR-100 with its fine labels: 50,000 training and 10,000 test images, (3, 32, 32) uint8, 100 classes.

    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". Read by torchvision from
    `root`/cifar-100-python; DataError where it is not there and `download` is False, or it cannot be fetched.
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
        folder = tmp_path / "cifar-100-python"
        write_noise(folder, meta="meta", fine="fine_", classes=100, batches={"train": 100, "test": 20})
        return [cls(root=str(tmp_path), verify=False)]
