"""Parts of a batch: what `Experiment.micro_batch` divides, so that the networks see few images at a time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from matx.data import Batch

__all__ = ["Rows", "batch_part", "joined", "parted", "parts_of", "table_part"]

Rows = slice
"""The images of a part, as they are counted in the batch."""
Key = TypeVar("Key", bound=Hashable)


def parts_of(count: int, micro_batch: int | None) -> list[Rows]:
    """So many images in the fewest parts of at most `micro_batch`, of nearly equal sizes; None: one part.

    >>> parts_of(7, 3)
    [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
    """
    number = 1 if micro_batch is None else -(-count // micro_batch)
    sizes = [count // number + (place < count % number) for place in range(number)]
    starts = [sum(sizes[:place]) for place in range(number)]
    return [slice(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def parted(part: int) -> tuple[int, ...]:
    """What tells the draws of a part from those of the others; nothing for the first, so that one part is no part."""
    return (part,) if part else ()


def batch_part(batch: Batch, rows: Rows) -> Batch:
    """The images of a part with their labels and indices."""
    return replace(batch, images=batch.images[rows], labels=batch.labels[rows], indices=batch.indices[rows])


def table_part(table: Mapping[Key, Tensor], rows: Rows) -> dict[Key, Tensor]:
    """The part of a table whose entries are (views, N, ...)."""
    return {key: value[:, rows] for key, value in table.items()}


def joined(tables: Sequence[Mapping[Key, Tensor]]) -> dict[Key, Tensor]:
    """The whole of a table from its parts, in order; what came in one part is that part itself."""
    if len(tables) == 1:
        return dict(tables[0])
    return {key: torch.cat([table[key] for table in tables], 1) for key in tables[0]}
