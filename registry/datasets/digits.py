"""scikit-learn's handwritten digits: 1,797 real 8x8 grey images that come with the package, no download."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

import matx
from matx.data import Data, MemorySplit, Subset, channel_statistics, stratified
from matx.errors import DataError

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
        table = _table()
        images = torch.from_numpy(table[:, :-1]).to(torch.float32).reshape(-1, 1, 8, 8) / 16.0
        whole = MemorySplit.of(images, torch.from_numpy(table[:, -1]))
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
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """The one instance; it needs no files."""
        return [cls()]


def _table() -> NDArray[np.float64]:
    """(1797, 65): 64 grey levels and the label, from scikit-learn's own file; importing scikit-learn takes seconds."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise DataError("datasets.digits: scikit-learn is not installed, allowed: pip install scikit-learn")
    file = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.concatenate([pixels, labels[:, None]], axis=1)
