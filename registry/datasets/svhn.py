"""SVHN, digits of house numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

import matx
from matx.data import Data
from matx.effect import NO_EFFECT
from registry.datasets._torchvision import Source, load, random_images


def _unchecked(published: Any) -> dict[str, Any]:
    return {"split_list": {name: [url, file, None] for name, (url, file, _) in published.split_list.items()}}


_SOURCE = Source(
    name="svhn",
    torchvision_class="SVHN",
    parts=({"split": "train"}, {"split": "test"}),
    class_names=tuple("0123456789"),
    unchecked=_unchecked,
)


@matx.datasets.register("svhn")
@dataclass(frozen=True, kw_only=True)
class SVHN:
    """SVHN, cropped digits: 73,257 training and 26,032 test images, (3, 32, 32) uint8, 10 classes.

    Source: Netzer et al. 2011, "Reading Digits in Natural Images with Unsupervised Feature Learning". Read by
    torchvision from `root`; DataError where it is not there and `download` is False, or it cannot be fetched.
    """

    root: str = field(default="data", metadata=NO_EFFECT)
    download: bool = field(default=False, metadata=NO_EFFECT)
    verify: bool = field(default=True, metadata=NO_EFFECT)
    """Check the published checksums; False: take a cut-down copy of your own as it is."""

    def __call__(self) -> Data:
        return load(_SOURCE, root=self.root, download=self.download, verify=self.verify)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """One on noise in the real file format, in which the digit 0 has label 10."""
        from scipy.io import savemat

        for name, count in (("train", 40), ("test", 20)):
            images, labels = random_images(count, (32, 32, 3), seed=count)
            stored = np.array([label or 10 for label in labels], np.uint8)[:, None]
            savemat(tmp_path / f"{name}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": stored})
        return [cls(root=str(tmp_path), verify=False)]
