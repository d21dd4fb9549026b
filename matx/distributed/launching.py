"""Several processes of one command on this machine, started and watched by torch's own launcher."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from matx.distributed.joining import LAUNCHED, refuse_within_torchrun
from matx.errors import LostProcessError, OptionError

__all__ = ["launch"]

_STOPPED = 130


def launch(processes: int, command: Sequence[str]) -> int:
    """Run `matx COMMAND` in so many processes, as torchrun does; the exit code of rank 0, which says what is wrong.

    Where rank 0 was killed and could not, LostProcessError says it, and how to continue.
    """
    if processes < 1:
        raise OptionError(f"--processes: got {processes}, allowed: 1 or more")
    refuse_within_torchrun()
    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with tempfile.TemporaryDirectory(prefix="matx-") as folder:
        told = Path(folder) / "continue"
        os.environ[LAUNCHED] = str(told)
        try:
            elastic_launch(_config(processes), sys.executable)("-m", "matx", *command)
        except ChildFailedError as failed:
            return _failed(failed, told)
        except SignalException:
            return _STOPPED
        finally:
            del os.environ[LAUNCHED]
    return 0


def _config(processes: int) -> LaunchConfig:
    """One machine, a free port, and no second attempt: `--resume` continues."""
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="matx",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.5,
    )


def _failed(failed: ChildFailedError, told: Path) -> int:
    """The exit code of rank 0 where it ended by itself, else LostProcessError.

    Where rank 0 is not among the failures (torch 2.6, where another rank ended first), that of a rank that is.
    """
    first = failed.failures.get(0)
    if first is None:
        return next((one.exitcode for one in failed.failures.values() if one.exitcode > 0), 1)
    if first.exitcode > 0:
        return first.exitcode
    error = LostProcessError(f"rank 0 was killed by signal {-first.exitcode}")
    if told.is_file():
        error.add_note(told.read_text(encoding="utf-8"))
    raise error
