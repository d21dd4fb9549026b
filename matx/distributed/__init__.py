"""Several processes as one: the only package that imports torch.distributed. With one process it does nothing.

Everyone else sees a frozen `World(rank, size)` and the functions beside it. Every process must call each of them, in
the same order: a process that does not is waited for, and in the end named.
"""

from matx.distributed.collectives import (
    SINGLE,
    World,
    any_true,
    average,
    broadcast,
    gather,
    in_order,
    refuse_differences,
    total,
)
from matx.distributed.joining import again, device_of_process, joined
from matx.distributed.launching import launch

__all__ = [
    "SINGLE",
    "World",
    "again",
    "any_true",
    "average",
    "broadcast",
    "device_of_process",
    "gather",
    "in_order",
    "joined",
    "launch",
    "refuse_differences",
    "total",
]
