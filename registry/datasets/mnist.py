"""MNIST, handwritten digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import matx
from matx.data import Data
from matx.effect import NO_EFFECT
from registry.datasets._torchvision import Source, load, write_idx

_SOURCE = Source(name="mnist", torchvision_class="MNIST", class_names=tuple("0123456789"))


@matx.datasets.register("mnist")
@dataclass(frozen=True, kw_only=True)
class MNIST:
    """MNIST, handwritten digits: 60,000 training and 10,000 test images, (1, 28, 28) uint8, 10 classes.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition". Read by torchvision from
    `root`/MNIST/raw; DataError where it is not there and `download` is False, or it cannot be fetched.
    """

    root: str = field(default="data", metadata=NO_EFFECT)
    download: bool = field(default=False, metadata=NO_EFFECT)

    def __call__(self) -> Data:
        return load(_SOURCE, root=self.root, download=self.download, verify=True)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """One on noise in the real file format."""
        write_idx(tmp_path / "MNIST" / "raw", train=40, test=20)
        return [cls(root=str(tmp_path))]
