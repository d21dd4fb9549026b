"""Bad datasets: a good small one, spoilt in one way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch

from matx.data import Data, MemorySplit

_BUILT = count()


def _split(seed: int) -> MemorySplit:
    images = torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return MemorySplit.of(images, torch.arange(12) % 3)


def _good() -> Data:
    return Data(
        name="small",
        train=_split(1),
        open_test=lambda: _split(2),
        image_shape=(3, 4, 4),
        num_classes=3,
        class_names=("a", "b", "c"),
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
    )


def _opened(data: Data) -> Data:
    assert data.test is not None, "reading it opens it"
    return data


_FAULTS: dict[str, Callable[[Data], Data]] = {
    "": lambda data: data,
    "range": lambda data: replace(data, train=replace(data.train, images=data.train.images * 255.0)),
    "double": lambda data: replace(data, train=replace(data.train, images=data.train.images.double())),
    "shape": lambda data: replace(data, image_shape=(3, 4, 5)),
    "labels": lambda data: replace(data, train=replace(data.train, labels=data.train.labels + 1)),
    "int32": lambda data: replace(data, train=replace(data.train, labels=data.train.labels.int())),
    "indices": lambda data: replace(data, train=replace(data.train, indices=torch.zeros(12, dtype=torch.int64))),
    "blank": lambda data: replace(data, train=replace(data.train, images=torch.zeros(12, 3, 4, 4))),
    "names": lambda data: replace(data, class_names=("a", "b")),
    "mean": lambda data: replace(data, mean=(127.0, 127.0, 127.0)),
    "channels": lambda data: replace(data, std=(0.2,)),
    "order": lambda data: replace(data, train=_split(100 + next(_BUILT))),
    "overlap": lambda data: replace(data, val=_split(2)),
    "eager": _opened,
    "moving_test": lambda data: replace(data, open_test=lambda: _split(100 + next(_BUILT))),
}


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A small dataset with one fault."""

    fault: str

    def __call__(self) -> Data:
        return _FAULTS[self.fault](_good())


def _case(contract: str, fault: str, words: str) -> tuple[str, Callable[[], Any], str]:
    return contract, lambda: Bad(fault=fault), words


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    _case("holds_images_and_labels", "range", "not in [0, 1]"),
    _case("holds_images_and_labels", "double", "not uint8 or float32"),
    _case("holds_images_and_labels", "shape", "images of shape (3, 4, 4)"),
    _case("holds_images_and_labels", "labels", "labels outside 0..2"),
    _case("holds_images_and_labels", "int32", "not int64"),
    _case("holds_images_and_labels", "indices", "not one a sample"),
    _case("holds_images_and_labels", "blank", "every pixel is 0"),
    _case("describes_itself", "names", "2 class names for 3 classes"),
    _case("describes_itself", "mean", "a mean outside [0, 1]"),
    _case("describes_itself", "channels", "for 3 channels"),
    _case("keeps_its_order", "order", "another order, when built again"),
    _case("splits_do_not_overlap", "overlap", "is in split"),
    _case("opens_test_only_when_called", "eager", "when it is built"),
    _case("opens_test_only_when_called", "moving_test", "another test split"),
]
"""(contract, a component that breaks it, words of the sentence)."""
