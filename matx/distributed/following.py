"""A function that one process runs together with others, which it starts for it and which end with it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch's stubs omit it

from matx.distributed.collectives import SINGLE, World
from matx.distributed.joining import joined, refuse_within_torchrun

__all__ = ["followed"]

_HOST = "127.0.0.1"
_PATIENCE = 30.0
"""Seconds in which the others end once the function is over."""


@contextmanager
def followed(processes: int, device: str, work: Callable[[World, Any], None], task: Any) -> Iterator[World]:
    """The world of this process, which is rank 0, and of others that run `work(world, task)`.

    `work` is at the top level of a module; rank 0 does the same inside. One process: SINGLE, and nothing is started.
    """
    if processes == 1:
        yield SINGLE
        return
    refuse_within_torchrun()
    store = TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
    started = [_started(_environment(rank, processes, store.port), device) for rank in range(1, processes)]
    own = _environment(0, processes, store.port)
    os.environ.update(own)
    try:
        for process in started:
            _tell(process, (work, task))
        with joined(device) as world:
            yield world
    finally:
        for name in own:
            del os.environ[name]
        for process in started:
            _end(process)


def _environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells its processes, of a store that is there already."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": _HOST,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }


def _started(environment: Mapping[str, str], device: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "matx.distributed.following", device]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )  # fmt: skip


def _tell(process: subprocess.Popen[bytes], what: Any) -> None:
    assert process.stdin is not None, "it was opened as a pipe"
    pickle.dump(what, process.stdin)
    process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for it, and kill what does not end."""
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin is not None, "it was opened as a pipe"
    process.stdin.close()


def _follow(device: str, orders: BinaryIO) -> None:
    """Do what rank 0 says, and end when it is gone: its end of the pipe closes with it."""
    work, task = pickle.load(orders)

    def end_with_rank_0() -> None:
        orders.read()
        os._exit(1)

    threading.Thread(target=end_with_rank_0, daemon=True).start()
    with joined(device) as world:
        work(world, task)


if __name__ == "__main__":
    _follow(sys.argv[1], sys.stdin.buffer)
