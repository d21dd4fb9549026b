"""A plug-in: one file that registers one new dataset. Copy it, rename it, change how images are read.

matx show datasets.npy_folder --plugin examples/my_dataset.py
matx check datasets.npy_folder --plugin examples/my_dataset.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch

import matx
from matx.data import Data, MemorySplit, channel_statistics
from matx.effect import NO_EFFECT
from matx.errors import DataError


@matx.datasets.register("npy_folder")
@dataclass(frozen=True, kw_only=True)
class NpyFolder:
    """Four files of numpy in one folder: train_images.npy, train_labels.npy, test_images.npy, test_labels.npy.

    Images are uint8 (N, C, H, W), labels integers from 0.
    """

    # NO_EFFECT: no figure depends on where the files lie, so a run whose data moved can be resumed with another root.
    root: str = field(metadata=NO_EFFECT)
    """The folder."""

    def __call__(self) -> Data:
        train = self._split("train")
        _, channels, height, width = train.images.shape
        classes = int(train.labels.max()) + 1
        mean, std = channel_statistics(train.images)
        return Data(
            name="npy_folder",
            train=train,
            # Called when the test split is evaluated, never by training: reading waits until then.
            open_test=lambda: self._split("test"),
            image_shape=(channels, height, width),
            num_classes=classes,
            class_names=tuple(str(label) for label in range(classes)),
            mean=mean,
            std=std,
        )

    def _split(self, name: str) -> MemorySplit:
        images, labels = self._read(f"{name}_images.npy"), self._read(f"{name}_labels.npy")
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
            raise DataError(
                f"{self.root}: got {name} images of {images.dtype} {images.shape} with {len(labels)} labels, "
                "allowed: uint8 (N, C, H, W) with N labels"
            )
        return MemorySplit.of(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))

    def _read(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        path = Path(self.root).expanduser() / name
        try:
            # A pickle in somebody's file would run its code.
            found: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}); allowed: an array that numpy.save wrote") from error
        return found

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """One instance, of files that it writes: the contracts are tried on it, and nothing is ever downloaded."""
        draws = np.random.default_rng(0)
        for name, count in (("train", 12), ("test", 6)):
            np.save(tmp_path / f"{name}_images.npy", draws.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8))
            np.save(tmp_path / f"{name}_labels.npy", np.arange(count) % 3)
        return [cls(root=str(tmp_path))]
