"""scikit-learn's handwritten digits: 1,797 real 8x8 grey images that come with the package, no download."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import torch
from numpy.typing import NDArray

import matx
from matx.data import Data, MemorySplit, Subset, channel_statistics, stratified
from matx.errors import DataError
from matx.options import Range


@matx.datasets.register("digits")
@dataclass(frozen=True, kw_only=True)
class Digits:
    """1,797 images of 10 classes, (1, 8, 8) fp32: grey levels 0..16 divided by 16.

    The split is fixed and stratified by class, whatever the seed: `test_images` for the test, the others for training
    and validation. The images of a smaller test split are among those of a larger one.
    Source: the test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998), as
    `sklearn.datasets.load_digits` gives it.
    """

    test_images: Annotated[int, Range(10, 1787)] = 360
    """How many of the 1,797 images are the test split."""

    def __call__(self) -> Data:
        table = _table()
        images = torch.from_numpy(table[:, :-1]).to(torch.float32).reshape(-1, 1, 8, 8) / 16.0
        whole = MemorySplit.of(images, torch.from_numpy(table[:, -1]))
        rows = stratified(whole, "digits test split")
        train = Subset(whole, rows[self.test_images :].sort().values)
        mean, std = channel_statistics(train.read(torch.arange(len(train.labels))))
        return Data(
            name="digits",
            train=train,
            open_test=lambda: Subset(whole, rows[: self.test_images].sort().values),
            image_shape=(1, 8, 8),
            num_classes=10,
            class_names=tuple(str(digit) for digit in range(10)),
            mean=mean,
            std=std,
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """The usual split, and one of many test images; neither needs files."""
        return [cls(), cls(test_images=1300)]


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
