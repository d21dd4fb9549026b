"""CIFAR-10."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matx
from matx.data import Data
from registry.datasets._torchvision import Source, load, random_images


def _unchecked(published: Any) -> dict[str, Any]:
    parts = {name: [[file, None] for file, _ in getattr(published, name)] for name in ("train_list", "test_list")}
    return parts | {"meta": published.meta | {"md5": None}}


_SOURCE = Source(name="cifar10", torchvision_class="CIFAR10", unchecked=_unchecked)


@matx.datasets.register("cifar10")
@dataclass(frozen=True, kw_only=True)
class Cifar10:
    """CIFAR-10: 50,000 training and 10,000 test images, (3, 32, 32) uint8, 10 classes.

    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". Read by torchvision from
    `root`/cifar-10-batches-py; DataError where it is not there and `download` is False, or it cannot be fetched.
    """

    root: str = "data"
    download: bool = False
    verify: bool = True
    """Check the published checksums (the files are pickles); False: take a cut-down copy of your own as it is."""

    def __call__(self) -> Data:
        return load(_SOURCE, root=self.root, download=self.download, verify=self.verify)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Cifar10]:
        """One on noise in the real file format."""
        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir(exist_ok=True)
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {k}" for k in range(10)]}))
        for number, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
            images, labels = random_images(20, (3072,), seed=number)
            (folder / name).write_bytes(pickle.dumps({"data": images, "labels": labels}))
        return [cls(root=str(tmp_path), verify=False)]
