"""Labelled images: splits that are indexed, carved and read in batches, the same in memory and from files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from matx.errors import DataError
from matx.randomness import SampleGenerator, hashed, seed_for

__all__ = [
    "Batch",
    "Data",
    "MemorySplit",
    "Split",
    "Subset",
    "batches",
    "carve",
    "channel_statistics",
    "fingerprints",
    "order",
    "read_through",
    "stratified",
    "to_unit",
]


class Split(Protocol):
    """An indexable source of images with labels.

    >>> import torch, matx
    >>> def first(split: matx.Split) -> torch.Tensor:
    ...     return split.read(torch.tensor([0]))
    >>> first(matx.MemorySplit.of(torch.rand(20, 1, 8, 8), torch.arange(20))).shape
    torch.Size([1, 1, 8, 8])
    """

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        ...

    @property
    def indices(self) -> Tensor:
        """(N,) int64: each sample's index in its dataset, which keys its random draws."""
        ...

    def read(self, rows: Tensor) -> Tensor:
        """(n, C, H, W) uint8, or fp32 in [0,1], of those rows."""
        ...

    def fingerprint(self) -> str:
        """A short hash of images and labels (of names, sizes and labels where images are decoded on the way)."""
        ...


@dataclass(frozen=True, eq=False)
class MemorySplit:
    """Images and labels in memory; uint8 (N, C, H, W) or fp32 in [0,1].

    >>> import torch, matx
    >>> split = matx.MemorySplit.of(torch.rand(20, 1, 8, 8), torch.arange(20) % 10)
    >>> split.read(torch.tensor([3, 4])).shape, split.labels[3]
    (torch.Size([2, 1, 8, 8]), tensor(3))
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Tensor) -> MemorySplit:
        """The split of a whole set: indices 0..N-1."""
        return cls(images, labels.to(torch.int64), torch.arange(len(labels)))

    def read(self, rows: Tensor) -> Tensor:
        """(n, C, H, W) of those rows."""
        return self.images[rows]

    def fingerprint(self) -> str:
        """A short hash of type, shape and bytes of the images, and of the labels."""
        digest = hashlib.blake2b(f"{self.images.dtype} {tuple(self.images.shape)}".encode(), digest_size=8)
        digest.update(self.images.contiguous().numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Subset:
    """Some rows of a split."""

    split: Split
    rows: Tensor

    @cached_property
    def labels(self) -> Tensor:
        """(N,) int64."""
        return self.split.labels[self.rows]

    @cached_property
    def indices(self) -> Tensor:
        """(N,) int64, as in the whole split."""
        return self.split.indices[self.rows]

    def read(self, rows: Tensor) -> Tensor:
        """(n, C, H, W) of those rows."""
        return self.split.read(self.rows[rows])

    def fingerprint(self) -> str:
        """A short hash of the whole split's and of the rows."""
        rows = hashlib.blake2b(self.rows.numpy().tobytes(), digest_size=8).hexdigest()
        return f"{self.split.fingerprint()}-{rows}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """What a dataset gives: splits of one image shape, and what a normaliser needs.

    `open_test` is called by evaluation, and before a run to see that every image can be read: training and tuning
    never open the test split.

    >>> import torch, matx
    >>> split = matx.MemorySplit.of(torch.rand(20, 1, 8, 8), torch.arange(20) % 10)
    >>> data = matx.Data(
    ...     name="mine", train=split, open_test=lambda: split, image_shape=(1, 8, 8), num_classes=10,
    ...     class_names=tuple("0123456789"), mean=(0.5,), std=(0.25,),
    ... )
    >>> len(data.test.labels)
    20
    """

    name: str
    train: Split
    open_test: Callable[[], Split]
    image_shape: tuple[int, int, int]
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, on the scale [0,1]."""
    std: tuple[float, ...]
    val: Split | None = None
    """A validation split of the dataset's own; None: `carve` takes one out of train."""
    benchmark: str | None = None
    """The name by which RobustBench knows its images; None: it does not."""

    @cached_property
    def test(self) -> Split:
        """The test split, opened when first read."""
        return self.open_test()


@dataclass(frozen=True)
class Batch:
    """(N, C, H, W) fp32 images in [0,1], (N,) labels, and the samples' indices in their dataset."""

    images: Tensor
    labels: Tensor
    indices: Tensor


def carve(data: Data, *, validation: float, train_limit: int | None = None) -> Data:
    """Take a share of train for validation where the dataset has none, then at most `train_limit` images of the rest.

    The choice is stratified by class and hashed from the sample's index only: it never depends on a seed, so runs are
    paired. A limit takes the first of the same order, so a smaller training set is part of the larger one.
    """
    rows = stratified(data.train, "carve")
    val = data.val
    if val is None:
        count = round(validation * len(rows))
        if not 0 < count < len(rows):
            raise DataError(
                f"Experiment.validation: got {validation}, which makes {count} of {len(rows)} images of "
                f"{data.name!r}; allowed: a share that leaves some on both sides"
            )
        val, rows = Subset(data.train, rows[:count].sort().values), rows[count:]
    if train_limit is not None:
        rows = rows[:train_limit]
    return replace(data, train=Subset(data.train, rows.sort().values), val=val)


def stratified(split: Split, purpose: str) -> Tensor:
    """(N,) all rows, in a fixed order in which every prefix holds the classes in nearly equal shares.

    The order is hashed from the purpose and the samples' indices; no seed enters.
    """
    score = SampleGenerator(hashed(purpose), split.indices).bits(()).to(torch.float64)
    by_class = torch.empty(len(split.labels), dtype=torch.float64)
    for label in torch.unique(split.labels):
        members = (split.labels == label).nonzero().squeeze(1)
        ranks = score[members].argsort(stable=True).argsort().to(torch.float64)
        by_class[members] = (ranks + 0.5) / len(members)
    return by_class.argsort(stable=True)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) per channel on the scale [0,1] of (N, C, H, W) uint8 or fp32 images; a constant channel has std 1."""
    if images.dtype == torch.uint8:
        levels = torch.arange(256, dtype=torch.float64) / 255.0
        counts = [_histogram(channel) for channel in images.unbind(1)]
        means = [(count * levels).sum() / count.sum() for count in counts]
        variances = [(c * (levels - m).square()).sum() / c.sum() for c, m in zip(counts, means, strict=True)]
    else:
        channels = [channel.double() for channel in images.unbind(1)]
        means = [channel.mean() for channel in channels]
        variances = [channel.var(correction=0) for channel in channels]
    spread = [float(variance) ** 0.5 for variance in variances]
    return tuple(float(mean) for mean in means), tuple(std if std > 0.0 else 1.0 for std in spread)


def _histogram(levels: Tensor) -> Tensor:
    """(256,) float64: how often each uint8 value occurs (in chunks, for torch counts in int64)."""
    starts = range(0, len(levels), 4096)
    parts = [torch.bincount(levels[start : start + 4096].flatten(), minlength=256) for start in starts]
    return torch.stack(parts).sum(0).double()


def order(count: int, *, seed: int, epoch: int) -> Tensor:
    """(count,) the order of the samples in an epoch: shared by all peers, a function of seed and epoch."""
    generator = torch.Generator().manual_seed(seed_for(seed, "order", epoch))
    return torch.randperm(count, generator=generator)


def to_unit(images: Tensor) -> Tensor:
    """uint8 -> fp32 in [0,1]; fp32 is checked for range and passed on."""
    if images.dtype == torch.uint8:
        return images.to(torch.float32) / 255.0
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):
        raise DataError(f"images: got values in [{low:g}, {high:g}], allowed: [0, 1], or uint8")
    return images.to(torch.float32)


def batches(
    split: Split, rows: Tensor, size: int, *, device: torch.device | str = "cpu", drop_last: bool = False
) -> Iterator[Batch]:
    """The rows of a split in batches, in order, as fp32 on the device, to which uint8 images go as they are."""
    place = torch.device(device)
    whole = len(rows) - len(rows) % size if drop_last else len(rows)
    for start in range(0, whole, size):
        part = rows[start : min(start + size, whole)]
        images = split.read(part)
        images = to_unit(_moved(images, place)) if images.dtype == torch.uint8 else _moved(to_unit(images), place)
        yield Batch(images, _moved(split.labels[part], place), _moved(split.indices[part], place))


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; to CUDA from pinned memory, so that nothing waits for the copy."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def read_through(split: Split, limit: int | None = None, size: int = 256) -> int:
    """Read the images of a split, at most the first `limit`, and keep none: how many; DataError for a broken one."""
    rows = torch.arange(len(split.labels))[:limit]
    for part in torch.split(rows, size):
        to_unit(split.read(part))
    return len(rows)


def fingerprints(data: Data, *, test: bool) -> Mapping[str, str]:
    """The short hashes of a dataset's splits, for the run folder; the test split only where it is open anyway."""
    splits = {"train": data.train, "val": data.val, "test": data.test if test else None}
    return {name: split.fingerprint() for name, split in splits.items() if split is not None}
