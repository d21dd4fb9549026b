"""What processes do together: averages and sums of tensors, values gathered and broadcast."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from matx.errors import LostProcessError, RunError

__all__ = [
    "SINGLE",
    "Planned",
    "World",
    "any_true",
    "average",
    "broadcast",
    "divided",
    "exchange",
    "gather",
    "in_order",
    "merged",
    "refuse_differences",
    "total",
]

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """Which of how many processes this one is; rank 0 writes."""

    rank: int = 0
    size: int = 1
    ranks: tuple[int, ...] = ()
    """Where this is a part of all processes: their ranks among all."""
    group: Any = field(default=None, compare=False, repr=False)
    """torch's handle of the part."""

    @property
    def writes(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def mine(self, count: int) -> range:
        """Of `count` things, those that this process does: every `size`-th."""
        return range(self.rank, count, self.size)


SINGLE = World()


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A tensor that crosses: from which rank, and what it is like."""

    source: int
    shape: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype = torch.float32


def average(world: World, tensors: Sequence[Tensor], share: float) -> None:
    """Each tensor becomes sum_r share_r t_r over the ranks, in place; one collective a dtype. Shares sum to 1."""
    _reduce(world, tensors, share)


def total(world: World, tensors: Sequence[Tensor]) -> None:
    """Each tensor becomes its sum over the ranks, in place; one collective a dtype."""
    _reduce(world, tensors, None)


@torch.no_grad()
def _reduce(world: World, tensors: Sequence[Tensor], share: float | None) -> None:
    if world.size == 1:
        return
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        some = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in some])
        if share is not None:
            flat.mul_(share)
        _collective(dist.all_reduce, flat, dist.ReduceOp.SUM, world.group)
        for tensor, values in zip(some, torch.split(flat, [tensor.numel() for tensor in some]), strict=True):
            tensor.copy_(values.view(tensor.shape))


def any_true(world: World, flag: bool) -> bool:
    """Whether it is true on any rank."""
    if world.size == 1:
        return flag
    found = torch.tensor(int(flag))
    _collective(dist.all_reduce, found, dist.ReduceOp.MAX, world.group)
    return bool(found)


def gather(world: World, value: Value) -> list[Value]:
    """What each rank gives, in order of ranks, on every rank; tensors in it are on the CPU."""
    if world.size == 1:
        return [value]
    found: list[Any] = [None] * world.size
    _collective(dist.all_gather_object, found, value, world.group)
    return found


def in_order(world: World, own: Mapping[int, Value]) -> list[Value]:
    """The values of numbered things, of which each rank has some, in the order of their numbers, on every rank."""
    shared = merged(world, own)
    return [shared[number] for number in sorted(shared)]


def merged(world: World, own: Mapping[Key, Value]) -> dict[Key, Value]:
    """The entries of all ranks' mappings, on every rank; tensors in them are on the CPU."""
    return {key: value for some in gather(world, own) for key, value in some.items()}


def exchange(world: World, own: Mapping[Key, Tensor], plan: Mapping[Key, Planned]) -> dict[Key, Tensor]:
    """The planned tensors on every rank: its own as they are, the others' as they were sent, one broadcast a rank."""
    found = dict(own)
    if world.size == 1:
        return found
    for source in range(world.size):
        keys = [key for key, planned in plan.items() if planned.source == source]
        for dtype in dict.fromkeys(plan[key].dtype for key in keys):
            some = [key for key in keys if plan[key].dtype == dtype]
            sizes = [math.prod(plan[key].shape) for key in some]
            if source == world.rank:
                flat = torch.cat([own[key].detach().reshape(-1) for key in some])
            else:
                flat = torch.empty(sum(sizes), dtype=dtype, device=plan[some[0]].device)
            _collective(dist.broadcast, flat, world.ranks[source] if world.ranks else source, world.group)
            if source != world.rank:
                parts = torch.split(flat, sizes)
                found |= {key: part.view(plan[key].shape) for key, part in zip(some, parts, strict=True)}
    return found


def divided(world: World, parts: int) -> tuple[World, World]:
    """(the processes with which this one shares something in `parts`, those among which it is one of the others).

    Rank r is in row r // (size / parts) and column r % (size / parts); the first is its column, the second its row.
    """
    width = world.size // parts
    row, column = divmod(world.rank, width)
    rows = [tuple(range(start, start + width)) for start in range(0, world.size, width)]
    columns = [tuple(range(start, world.size, width)) for start in range(width)]
    groups = {ranks: None if len(ranks) == 1 else dist.new_group(list(ranks)) for ranks in (*rows, *columns)}
    return (
        World(row, parts, columns[column], groups[columns[column]]),
        World(column, width, rows[row], groups[rows[row]]),
    )


def broadcast(world: World, value: Value | None, source: int = 0) -> Value:
    """What the rank `source` of all processes gives, on every rank; tensors in it are on the CPU."""
    found: list[Any] = [value]
    if world.size > 1:
        _collective(dist.broadcast_object_list, found, source)
    given: Value = found[0]
    return given


def refuse_differences(world: World, facts: Mapping[str, str]) -> None:
    """RunError, on every rank, where a rank knows other facts than rank 0: other files, images or versions."""
    first, *others = gather(world, dict(facts))
    for rank, other in enumerate(others, 1):
        for name in first | other:
            if first.get(name) != other.get(name):
                raise RunError(
                    f"rank {rank}: {name} is {other.get(name, 'not there')!r}, on rank 0 "
                    f"{first.get(name, 'not there')!r}; allowed: the same files, images and versions in every process"
                )


def _collective(call: Callable[..., object], *arguments: Any) -> None:
    """Every collective is called here; LostProcessError where a rank did not take part."""
    try:
        call(*arguments)
    except RuntimeError as error:  # torch's own kinds, of a broken connection or of waiting too long, derive from it
        raise LostProcessError("another process of this run is lost or does not answer") from error
