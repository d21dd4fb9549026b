"""Several processes as one: the only package that imports torch.distributed. With one process it does nothing.

Everyone else sees a frozen `World(rank, size)` and the functions beside it. Every process must call each of them, in
the same order: a process that does not is waited for, and in the end named.
"""

from matx.distributed.collectives import (
    SINGLE,
    Planned,
    World,
    any_true,
    average,
    broadcast,
    divided,
    exchange,
    gather,
    in_order,
    merged,
    refuse_differences,
    total,
)
from matx.distributed.following import followed
from matx.distributed.joining import again, device_of_process, joined
from matx.distributed.launching import launch

__all__ = [
    "SINGLE",
    "Planned",
    "World",
    "again",
    "any_true",
    "average",
    "broadcast",
    "device_of_process",
    "divided",
    "exchange",
    "followed",
    "gather",
    "in_order",
    "joined",
    "launch",
    "merged",
    "refuse_differences",
    "total",
]
