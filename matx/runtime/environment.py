"""What a run happened in: versions, machine, the state of the user's repository."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from matx.distributed import device_of_process
from matx.errors import OptionError
from matx.plugins import loaded_files

__all__ = [
    "describe",
    "find_device",
    "git_state",
    "keep_freed_memory",
    "provenance",
    "provenance_changes",
    "spare_threads",
    "threads_kept",
]

_WIDE = 1024
"""Values in an image from which several threads pay on a CPU; below, a busy machine makes them far slower than one."""


def spare_threads(device: torch.device, image_shape: Sequence[int]) -> None:
    """One thread for small images on a CPU, unless OMP_NUM_THREADS says how many."""
    if device.type == "cpu" and math.prod(image_shape) < _WIDE and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


@contextmanager
def threads_kept(threads: int | None = None) -> Iterator[None]:
    """So many threads inside, where a number is given; afterwards as many as before, whatever is set inside."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory(device: torch.device) -> bool:
    """Let glibc keep what tensors on a CPU free for the next ones; whether it does.

    By default it gives blocks of over some 100 KiB back to the system, and each step pays for the pages of its
    activations anew: 5 % of a small network's passes, and more of a projection. Other C libraries take no such option.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    setting: Any = ctypes.CDLL(None).mallopt
    mmap_threshold, trim_threshold = -3, -1  # their names in malloc.h; the highest that glibc admits, and 1 GiB
    return bool(setting(mmap_threshold, 32 << 20)) and bool(setting(trim_threshold, 1 << 30))


def find_device(name: str) -> torch.device:
    """The device of a name that is usable here; 'auto' is CUDA where it is there (of several processes each has its own
    GPU), else the CPU."""
    name = device_of_process(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    usable = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        usable.append("mps")
    if name in usable or (name == "cuda" and len(usable) > 1 and usable[1].startswith("cuda")):
        return torch.device(name)
    raise OptionError(f"--device: got {name!r}, allowed here: auto, {', '.join(usable)}")


def provenance(device: torch.device | str, processes: int = 1) -> dict[str, str | int]:
    """What bit for bit equality depends on beside the experiment: versions, processor or GPU, threads, processes."""
    found: dict[str, str | int] = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("matx", "torch", "torchvision", "timm", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    kind = torch.device(device)
    found["device"] = kind.type
    found["processor"] = (
        torch.cuda.get_device_name(kind) if kind.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    )
    return found | {"threads": torch.get_num_threads(), "processes": processes}


def provenance_changes(stored: Mapping[str, str | int], now: Mapping[str, str | int]) -> list[str]:
    """What differs from the provenance of the start, one `name: then -> now` each; none: equal bit for bit."""
    return [f"{name}: {stored[name]} -> {now.get(name)}" for name in stored if stored[name] != now.get(name)]


def describe(
    *, device: torch.device, seed: int, data: Mapping[str, str], command: Sequence[str], processes: int = 1
) -> dict[str, Any]:
    """The content of environment.json, without any wall-clock figure but the day."""
    return {
        **provenance(device, processes),
        "platform": platform.platform(),
        "date": datetime.now(UTC).date().isoformat(),
        "seed": seed,
        "data": dict(data),
        "directory": str(Path.cwd()),
        "git": git_state(Path.cwd()),
        "plugins": loaded_files(),
        "command": list(command),
    }


def git_state(folder: Path) -> dict[str, str | bool] | None:
    """The revision of the repository around a folder and whether it has changes; None outside of any.

    Nothing that the repository's own configuration names is run: hooks, monitors, filters, fetches. Of a submodule its
    revision counts, not its files.
    """
    revision = _git(folder, "rev-parse", "HEAD")
    if not revision:
        return None
    drivers = _git(folder, "config", "--null", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process|required)$")
    unset = [word for name in dict.fromkeys(filter(None, drivers.split("\0"))) for word in ("-c", f"{name}=")]
    changes = _git(folder, *unset, "status", "--porcelain", "--ignore-submodules=dirty")
    return {"revision": revision, "dirty": bool(changes)}


_QUIET_GIT = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
_NO_FETCHES = {"GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}


def _git(folder: Path, *arguments: str) -> str:
    """What git says, or nothing where it is not installed, the folder is no repository, or it is slow."""
    command = ["git", *_QUIET_GIT, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=os.environ | _NO_FETCHES)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
