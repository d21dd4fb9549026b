"""Functions run by several processes at once, joined as torchrun joins them, and what each returns."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from matx.distributed import World


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells each process."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "MATX_TIMEOUT": "120",
    }


@dataclass(frozen=True, eq=False)
class Joined:
    """Processes that have met, and do one function after the other: starting them costs more than most of these."""

    processes: list[SpawnProcess]
    ends: list[Connection]

    def __call__(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Any]:
        for end in self.ends:
            end.send((work, arguments))
        said = [_heard(end) for end in self.ends]
        assert all(well for well, _ in said), "\n".join(str(found) for well, found in said if not well)
        return [found for _, found in said]

    def leave(self) -> list[int | None]:
        """Their exit codes."""
        for end in self.ends:
            end.close()
        for process in self.processes:
            process.join(60)
            process.kill()
        return [process.exitcode for process in self.processes]


def _heard(end: Connection) -> tuple[bool, Any]:
    try:
        found: tuple[bool, Any] = end.recv()
    except EOFError:
        return False, "the process ended"
    return found


_JOINED: dict[int, Joined] = {}


def together(work: Callable[..., Any], size: int, *arguments: Any) -> list[Any]:
    """work(world, *arguments) in `size` processes: what each returns, in order of ranks."""
    processes = _JOINED.pop(size, None) or _start(size)
    try:
        found = processes(work, arguments)
    except BaseException:
        processes.leave()
        raise
    _JOINED[size] = processes
    return found


def part_all() -> dict[int, list[int | None]]:
    """End the processes that are waiting for work; {how many: their exit codes}."""
    codes = {size: processes.leave() for size, processes in _JOINED.items()}
    _JOINED.clear()
    return codes


def _start(size: int) -> Joined:
    context, port = get_context("spawn"), free_port()
    pipes = [context.Pipe() for _ in range(size)]
    processes = [
        context.Process(target=_serve, args=(rank, size, port, theirs)) for rank, (_, theirs) in enumerate(pipes)
    ]
    for process, (_, theirs) in zip(processes, pipes, strict=True):
        process.start()
        theirs.close()
    return Joined(processes, [ours for ours, _ in pipes])


def _serve(rank: int, size: int, port: int, end: Connection) -> None:
    os.environ.update(environment(rank, size, port))
    import torch

    from matx import plugins
    from matx.distributed import joined

    torch.set_num_threads(1)
    plugins.import_all()
    with joined("cpu") as world:
        assert world == World(rank, size), f"rank {rank} of {size} found itself as {world}"
        while True:
            try:
                work, arguments = end.recv()
            except EOFError:  # no more is asked
                return
            try:
                end.send((True, work(world, *arguments)))
            except Exception:
                end.send((False, f"rank {rank}: {traceback.format_exc()}"))
