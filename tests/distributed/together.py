"""Functions run by several processes at once, joined as torchrun joins them, and what each returns."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
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


def together(work: Callable[..., Any], size: int, *arguments: Any) -> list[Any]:
    """work(world, *arguments) in `size` new processes: what each returns, in order of ranks."""
    context, port = get_context("spawn"), free_port()
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=_run, args=(work, rank, size, port, Path(folder), arguments)) for rank in range(size)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        codes = [process.exitcode for process in processes]
        assert codes == [0] * size, f"the processes ended with {codes}"
        return [pickle.loads((Path(folder) / str(rank)).read_bytes()) for rank in range(size)]


def _run(work: Callable[..., Any], rank: int, size: int, port: int, folder: Path, arguments: Any) -> None:
    os.environ.update(environment(rank, size, port))
    import torch

    from matx import plugins
    from matx.distributed import joined

    torch.set_num_threads(1)
    plugins.import_all()
    with joined("cpu") as world:
        assert world == World(rank, size), f"rank {rank} of {size} found itself as {world}"
        found = work(world, *arguments)
    (folder / str(rank)).write_bytes(pickle.dumps(found))
