"""Datasets that torchvision reads: from its file formats to Data, with one clear error for whatever goes wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from matx.data import Data, MemorySplit, channel_statistics
from matx.errors import DataError
from matx.unpickle import load_plain

__all__ = ["Source", "load", "random_images", "write_idx"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What to read: a torchvision class by name, and how its parts are named."""

    name: str
    """Registered name."""
    torchvision_class: str
    parts: tuple[dict[str, Any], dict[str, Any]] = ({"train": True}, {"train": False})
    """Arguments of the class for the training and the test part."""
    class_names: tuple[str, ...] = ()
    """Names of the classes; empty: those that torchvision gives."""
    unchecked: Callable[[Any], dict[str, Any]] = lambda published: {}
    """The class attributes that hold checksums, without these, for `verify=False`."""
    benchmark: str | None = None
    """The name by which RobustBench knows the images."""
    pickles: Callable[[Any], Sequence[str]] = lambda published: ()
    """The files below root that are pickles, of the class; without a checksum they may hold arrays and text alone."""


def load(source: Source, *, root: str, download: bool, verify: bool) -> Data:
    """The data, its training part read now and its test part when first asked for."""
    train_part, test_part = source.parts
    raw = _open(source, train_part, root, download, verify)
    train = _split(source, raw)
    names = source.class_names or tuple(str(name) for name in raw.classes)
    _check_labels(source, train, len(names))
    mean, std = channel_statistics(train.images)

    def open_test() -> MemorySplit:
        split = _split(source, _open(source, test_part, root, download, verify))
        _check_labels(source, split, len(names))
        return split

    return Data(
        name=source.name,
        train=train,
        open_test=open_test,
        image_shape=(train.images.shape[1], train.images.shape[2], train.images.shape[3]),
        num_classes=len(names),
        class_names=names,
        mean=mean,
        std=std,
        benchmark=source.benchmark,
    )


def _open(source: Source, part: dict[str, Any], root: str, download: bool, verify: bool) -> Any:
    """torchvision's dataset; DataError where its files are missing, damaged or cannot be fetched."""
    import torchvision

    where = f"datasets.{source.name}"
    published = getattr(torchvision.datasets, source.torchvision_class)
    # The name stays: torchvision derives folders from it.
    reader = published if verify else type(published.__name__, (published,), source.unchecked(published))
    try:
        for file in () if verify else source.pickles(published):
            if (Path(root) / file).is_file():
                with (Path(root) / file).open("rb") as stream:
                    load_plain(stream)
        return reader(root, download=download, **part)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if download:
            raise DataError(
                f"{where}: cannot be downloaded into {root!r} ({reason}); "
                f"fetch it elsewhere and set {where}.root to its folder"
            ) from error
        reason = "" if "download=True" in reason else f" ({reason})"
        raise DataError(
            f"{where}: not found, or not intact, in {where}.root={root!r}{reason}; "
            f"set {where}.download=True, or {where}.root to the folder that holds torchvision's files"
        ) from error


def _split(source: Source, raw: Any) -> MemorySplit:
    images = torch.as_tensor(np.ascontiguousarray(raw.data))
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2).contiguous()
    labels = torch.as_tensor(raw.labels if hasattr(raw, "labels") else raw.targets)
    if images.dtype != torch.uint8 or len(images) != len(labels) or not len(labels):
        raise DataError(
            f"datasets.{source.name}: got {images.dtype} images {tuple(images.shape)} with {len(labels)} labels, "
            "allowed: uint8 images, as many as labels, not none"
        )
    return MemorySplit.of(images, labels)


def _check_labels(source: Source, split: MemorySplit, classes: int) -> None:
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"datasets.{source.name}: got labels {low}..{high}, allowed: 0..{classes - 1}")


def random_images(count: int, shape: Sequence[int], seed: int) -> tuple[Any, list[int]]:
    """uint8 noise (count, *shape) and labels 0, 1, ..., 9, 0, ...: the stuff of examples."""
    images: Tensor = torch.randint(
        0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return images.numpy(), [row % 10 for row in range(count)]


def write_idx(folder: Path, *, train: int, test: int) -> None:
    """Write noise in the IDX format of MNIST: 28x28 images and labels, so many of each part."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", train), ("t10k", test)):
        images, labels = random_images(count, (28, 28), seed=count)
        head = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + bytes(labels))
