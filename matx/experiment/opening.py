"""The data of an experiment as its dataset gives it, refused where labels and shapes cannot be trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from matx.data import Data, MemorySplit, Split, to_unit
from matx.errors import DataError
from matx.registration import REGISTRIES

if TYPE_CHECKING:
    from matx.experiment import Experiment

__all__ = ["data_of"]


def data_of(experiment: Experiment) -> Data:
    """What the experiment's dataset gives; a DataError that names the dataset where it breaks what `Data` promises.

    Labels, indices and class names are looked at before anything is made of them, and images that lie in memory; the
    test split when it is opened.
    """
    name = f"datasets.{REGISTRIES['datasets'].label(experiment.dataset)}"
    found: object = experiment.dataset()
    if not isinstance(found, Data):
        raise DataError(f"{name}: got {type(found).__name__}, allowed: a matx.data.Data")
    if len(found.class_names) != found.num_classes:
        raise DataError(
            f"{name}: got {len(found.class_names)} class names for {found.num_classes} classes, allowed: one a class"
        )
    for which, split in (("train", found.train), ("val", found.val)):
        if split is not None:
            _refuse(f"{name}, split {which}", split, found)
    return replace(found, open_test=_refusing(f"{name}, split test", found))


def _refusing(where: str, data: Data) -> Callable[[], Split]:
    def open_test() -> Split:
        split = data.open_test()
        _refuse(where, split, data)
        return split

    return open_test


def _refuse(where: str, split: Split, data: Data) -> None:
    """DataError for labels and indices that are not one a sample and in range, and for images in memory out of it."""
    for what, values in (("labels", split.labels), ("indices", split.indices)):
        if not isinstance(values, Tensor) or values.dtype != torch.int64 or values.shape != (len(split.labels),):
            raise DataError(f"{where}: got {what} as {_described(values)}, allowed: a tensor of int64, one a sample")
    if not len(split.labels):
        raise DataError(f"{where}: got no images, allowed: one or more")
    outside = (split.labels < 0) | (split.labels >= data.num_classes)
    if bool(outside.any()):
        sample = int(outside.nonzero()[0])
        raise DataError(
            f"{where}: got the label {int(split.labels[sample])} at sample {sample} ({int(outside.sum())} of "
            f"{len(outside)} are out of range), allowed: 0 to {data.num_classes - 1}, for {data.num_classes} classes"
        )
    if isinstance(split, MemorySplit) and split.images.dtype != torch.uint8:
        try:
            to_unit(split.images)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error


def _described(values: object) -> str:
    if not isinstance(values, Tensor):
        return type(values).__name__
    return f"{str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}"
