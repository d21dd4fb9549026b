"""Alternating rounds in processor time, and the machine that they ran on."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch

Row = dict[str, Any]
Tables = dict[str, list[Row]]
"""{table: rows of {column: text or number}}."""
Call = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all verbs are told."""

    brief: bool
    """Sizes that only show that everything runs."""
    rounds: int
    npz: Path | None
    """Images for `eval`; None: the digits."""
    folder: Path
    """Where the networks that `eval` attacks are kept."""
    device: torch.device
    """Of `step` and `attack`; on CUDA seconds are those of the wall clock, when the device is done."""

    def now(self) -> float:
        """Processor seconds of all threads of this process; on CUDA wall-clock seconds."""
        if self.device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def seconds(self, call: Call) -> float:
        """What a call takes."""
        began = self.now()
        call()
        return self.now() - began


def rounds(settings: Settings, calls: dict[str, Call]) -> dict[str, list[float]]:
    """{name: processor seconds a round}: after a first of each, all calls in turn, every other round backwards."""
    for call in calls.values():
        call()
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(settings.rounds):
        for name in reversed(calls) if number % 2 else calls:
            spent[name].append(settings.seconds(calls[name]))
    return spent


def ratios(above: Sequence[float], below: Sequence[float]) -> Row:
    """above / below within each round."""
    found = [a / b for a, b in zip(above, below, strict=True)]
    return {"min": min(found), "median": median(found), "max": max(found)}


def machine(device: torch.device) -> Row:
    """What the figures depend on beside the code; no paths, no names."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    low = [name for name in ("avx512_bf16", "amx_bf16") if name in flags]
    return {
        "CPU": model or platform.processor(),
        "cores": torch.multiprocessing.cpu_count(),
        "bf16 instructions": ", ".join(low) or "none",
        "GPU": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "torchattacks")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
