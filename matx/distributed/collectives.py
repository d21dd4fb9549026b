"""What processes do together: averages and sums of tensors, values gathered and broadcast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from matx.errors import LostProcessError, RunError

__all__ = ["SINGLE", "World", "any_true", "average", "broadcast", "gather", "in_order", "refuse_differences", "total"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """Which of how many processes this one is; rank 0 writes."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def mine(self, count: int) -> range:
        """Of `count` things, those that this process does: every `size`-th."""
        return range(self.rank, count, self.size)


SINGLE = World()


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
        _collective(dist.all_reduce, flat)
        for tensor, values in zip(some, torch.split(flat, [tensor.numel() for tensor in some]), strict=True):
            tensor.copy_(values.view(tensor.shape))


def any_true(world: World, flag: bool) -> bool:
    """Whether it is true on any rank."""
    if world.size == 1:
        return flag
    found = torch.tensor(int(flag))
    _collective(dist.all_reduce, found, dist.ReduceOp.MAX)
    return bool(found)


def gather(world: World, value: Value) -> list[Value]:
    """What each rank gives, in order of ranks, on every rank; tensors in it are on the CPU."""
    if world.size == 1:
        return [value]
    found: list[Any] = [None] * world.size
    _collective(dist.all_gather_object, found, value)
    return found


def in_order(world: World, own: Mapping[int, Value]) -> list[Value]:
    """The values of numbered things, of which each rank has some, in the order of their numbers, on every rank."""
    shared = {number: value for some in gather(world, own) for number, value in some.items()}
    return [shared[number] for number in sorted(shared)]


def broadcast(world: World, value: Value | None, source: int = 0) -> Value:
    """What the rank `source` gives, on every rank; tensors in it are on the CPU."""
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
