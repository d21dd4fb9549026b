"""The images of the study: for each number a training set of its own, and the same validation and test images.

Of the 50,000 training images of CIFAR-10, in their official order: the first 36,000 give 17 training sets
of 2,000, 200 a class, each image in one of them at most. Settings are chosen on 36,000 to 37,999, epochs on 38,000 to
38,999, the regime on 39,000 to 39,999; 42,000 to 43,999 test. The official test images are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]

POOL, CLASSES, SIZE = 36_000, 10, 2_000
SETS = 17
"""The rarest class has 3,571 images in the pool."""
VALIDATION: Mapping[str, range] = {
    "settings": range(36_000, 38_000),
    "epochs": range(38_000, 39_000),
    "gate": range(39_000, 40_000),
}
TEST = range(42_000, 44_000)


def training_set(labels: Labels, number: int) -> Labels:
    """The places of one training set, in order; ValueError where a class has too few images for it."""
    if not 0 <= number < SETS:
        raise ValueError(f"number: got {number}, allowed: 0 to {SETS - 1}")
    each = SIZE // CLASSES
    chosen = []
    for label in range(CLASSES):
        places = np.flatnonzero(labels[:POOL] == label)
        part = places[number * each : (number + 1) * each]
        if len(part) < each:
            raise ValueError(
                f"class {label}: got {len(places)} images in the pool, allowed: {(number + 1) * each} or more"
            )
        chosen.append(part)
    return np.sort(np.concatenate(chosen))


def halved(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 2h, 2w, C) -> (N, h, w, C): means of 2x2 pixels, rounded."""
    count, height, width, channels = images.shape
    cells = images.reshape(count, height // 2, 2, width // 2, 2, channels)
    found: NDArray[np.uint8] = np.rint(cells.mean((2, 4))).astype(np.uint8)
    return found


def write(images: NDArray[np.uint8], labels: Labels, number: int, validation: str, file: Path) -> None:
    """One .npz file: a training set, the validation images of this purpose, and the test images."""
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = {"train": training_set(labels, number), "val": np.array(VALIDATION[validation]), "test": np.array(TEST)}
    arrays = {f"x_{name}": images[places] for name, places in parts.items()}
    np.savez(file, **arrays, **{f"y_{name}": labels[places] for name, places in parts.items()})
