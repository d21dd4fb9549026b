"""What CIFAR-10 and CIFAR-100 have in common: torchvision's pickled batches."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.datasets._torchvision import Source, random_images


def source(name: str, torchvision_class: str) -> Source:
    """Where and how torchvision reads it."""
    return Source(
        name=name, torchvision_class=torchvision_class, unchecked=_unchecked, pickles=_pickles, benchmark=name
    )


def _unchecked(published: Any) -> dict[str, Any]:
    parts = {name: [[file, None] for file, _ in getattr(published, name)] for name in ("train_list", "test_list")}
    return parts | {"meta": published.meta | {"md5": None}}


def _pickles(published: Any) -> list[str]:
    names = [file for file, _ in (*published.train_list, *published.test_list)]
    return [f"{published.base_folder}/{name}" for name in (*names, published.meta["filename"])]


def write_noise(folder: Path, *, meta: str, fine: str, classes: int, batches: Mapping[str, int]) -> None:
    """Write noise in the real format: a file of class names, and so many images for each batch; keys as `fine` says."""
    folder.mkdir(exist_ok=True)
    names = {f"{fine}label_names": [f"class {k}" for k in range(classes)]}
    (folder / meta).write_bytes(pickle.dumps(names))
    for seed, (name, count) in enumerate(batches.items()):
        images, labels = random_images(count, (3072,), seed=seed)
        (folder / name).write_bytes(pickle.dumps({"data": images, f"{fine}labels": labels}))
