"""scikit-learn's handwritten digits: 1,797 real 8x8 grey images that come with the package, no download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import matx
from matx.data import Data, MemorySplit, Subset, channel_statistics, stratified

_TEST_IMAGES = 360


@matx.datasets.register("digits")
@dataclass(frozen=True, kw_only=True)
class Digits:
    """1,797 images of 10 classes, (1, 8, 8) fp32: grey levels 0..16 divided by 16.

    The split is fixed and stratified by class: 360 test images and 1,437 for training, whatever the seed.
    Source: the test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998), as
    `sklearn.datasets.load_digits` gives it.
    """

    def __call__(self) -> Data:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(pixels).to(torch.float32).reshape(-1, 1, 8, 8) / 16.0
        whole = MemorySplit.of(images, torch.from_numpy(labels))
        rows = stratified(whole, "digits test split")
        train = Subset(whole, rows[_TEST_IMAGES:].sort().values)
        mean, std = channel_statistics(train.read(torch.arange(len(train.labels))))
        return Data(
            name="digits",
            train=train,
            open_test=lambda: Subset(whole, rows[:_TEST_IMAGES].sort().values),
            image_shape=(1, 8, 8),
            num_classes=10,
            class_names=tuple(str(digit) for digit in range(10)),
            mean=mean,
            std=std,
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Digits]:
        """The one instance; it needs no files."""
        return [cls()]
