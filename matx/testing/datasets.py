"""Contracts of datasets, on at most a few thousand images of each split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from matx.data import Data, Split, fingerprints, to_unit
from matx.interfaces import Dataset
from matx.testing.trial import require

__all__ = [
    "CONTRACTS",
    "describes_itself",
    "holds_images_and_labels",
    "keeps_its_order",
    "opens_test_only_when_called",
    "splits_do_not_overlap",
]

_MOST = 4000


def _splits(data: Data) -> Mapping[str, Split]:
    named = {"train": data.train, "val": data.val, "test": data.test}
    return {name: split for name, split in named.items() if split is not None}


def _some(split: Split) -> Tensor:
    """At most so many rows, evenly spread."""
    count = len(split.labels)
    return torch.linspace(0, count - 1, min(count, _MOST)).round().to(torch.int64)


def holds_images_and_labels(dataset: Dataset) -> None:
    """uint8, or fp32 in [0,1], of the announced shape; int64 labels in range; one index a sample, none twice."""
    data = dataset()
    for name, split in _splits(data).items():
        where = f"{dataset!r}, split {name}"
        count = len(split.labels)
        require(count > 0, f"{where} is empty")
        images = split.read(_some(split))
        require(tuple(images.shape[1:]) == data.image_shape, f"{where}: images of shape {tuple(images.shape[1:])}")
        require(
            images.dtype in (torch.uint8, torch.float32), f"{where}: images of {images.dtype}, not uint8 or float32"
        )
        unit = images.float() / 255.0 if images.dtype == torch.uint8 else images
        low, high = float(unit.min()), float(unit.max())
        require(low >= 0.0 and high <= 1.0, f"{where}: pixels in [{low:g}, {high:g}], not in [0, 1]")
        require(high > low, f"{where}: every pixel is {low:g}")
        require(split.labels.dtype == torch.int64, f"{where}: labels of {split.labels.dtype}, not int64")
        inside = bool(((split.labels >= 0) & (split.labels < data.num_classes)).all())
        require(inside, f"{where}: labels outside 0..{data.num_classes - 1}")
        require(split.indices.dtype == torch.int64, f"{where}: indices of {split.indices.dtype}, not int64")
        distinct = len(split.indices) == count and len(torch.unique(split.indices)) == count
        require(distinct, f"{where}: indices are not one a sample; they key each sample's draws")


def describes_itself(dataset: Dataset) -> None:
    """As many class names as classes, at least two; a mean and a positive deviation per channel, on the scale [0,1]."""
    data = dataset()
    channels = data.image_shape[0]
    require(data.num_classes >= 2, f"{dataset!r} has {data.num_classes} classes, allowed: 2 or more")
    names = len(data.class_names)
    require(names == data.num_classes, f"{dataset!r} has {names} class names for {data.num_classes} classes")
    require(bool(data.name), f"{dataset!r} gives its data no name")
    for what, values in (("mean", data.mean), ("std", data.std)):
        require(len(values) == channels, f"{dataset!r} gives {len(values)} values as {what} for {channels} channels")
    require(all(0.0 <= value <= 1.0 for value in data.mean), f"{dataset!r} gives a mean outside [0, 1]: {data.mean}")
    require(all(0.0 < value <= 1.0 for value in data.std), f"{dataset!r} gives a deviation outside (0, 1]: {data.std}")


def keeps_its_order(dataset: Dataset) -> None:
    """Built again it holds the same samples in the same order; rows are read as indexed, whatever was read before."""
    first, second = dataset(), dataset()
    require(
        fingerprints(first, test=True) == fingerprints(second, test=True),
        f"{dataset!r} holds other samples, or another order, when built again",
    )
    for name, split in _splits(first).items():
        rows = torch.unique(torch.tensor([0, len(split.labels) // 2, len(split.labels) - 1]))
        images = split.read(rows)
        swapped = split.read(rows.flip(0)).flip(0)
        require(
            torch.equal(images, swapped), f"{dataset!r}, split {name}: a row's image depends on the order of reading"
        )
        require(torch.equal(images, split.read(rows)), f"{dataset!r}, split {name}: a row's image changes")
        require(torch.equal(split.labels, _splits(second)[name].labels), f"{dataset!r}, split {name}: labels change")


def splits_do_not_overlap(dataset: Dataset) -> None:
    """No image of one split is in another."""
    seen: dict[bytes, str] = {}
    for name, split in _splits(dataset()).items():
        images = to_unit(split.read(_some(split)))
        for image in images:
            digest = hashlib.blake2b(image.contiguous().numpy().tobytes(), digest_size=16).digest()
            other = seen.setdefault(digest, name)
            require(other == name, f"{dataset!r}: an image of split {other} is in split {name} too")


def opens_test_only_when_called(dataset: Dataset) -> None:
    """`open_test` gives the same split each time, and building the dataset does not need it to have been called."""
    data = dataset()
    require(callable(data.open_test), f"{dataset!r}.open_test cannot be called: training must not open the test split")
    require("test" not in vars(data), f"{dataset!r} opens its test split when it is built")
    first, second = data.open_test(), data.open_test()
    require(first.fingerprint() == second.fingerprint(), f"{dataset!r} opens another test split the second time")


CONTRACTS: tuple[Callable[[Any], None], ...] = (
    holds_images_and_labels,
    describes_itself,
    keeps_its_order,
    splits_do_not_overlap,
    opens_test_only_when_called,
)
"""The contracts of this file."""
