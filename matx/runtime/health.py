"""What this machine offers to matx: versions, devices, precision, threads, plug-ins, data, room on the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from matx.errors import MatxError
from matx.learner import resolved_precision
from matx.options import parameters
from matx.plugins import import_all
from matx.registration import REGISTRIES
from matx.runtime.environment import find_device, provenance

__all__ = ["findings"]

_LITTLE = 2**30
"""Bytes on the disk below which a run may not find room for its checkpoints."""


def findings() -> dict[str, str]:
    """{what: what was found}, each in a few words; nothing is written, and no image is read."""
    device = find_device("auto")
    known = provenance(device)
    packages = ("matx", "python", "torch", "torchvision", "timm", "numpy")
    return {
        "versions": ", ".join(f"{name} {known[name]}" for name in packages),
        "devices": ", ".join(_devices()),
        "precision": f"'auto' is {resolved_precision('auto', device)} on {device.type}",
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} processors"
        + (f" (OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']})" if "OMP_NUM_THREADS" in os.environ else ""),
        "plug-ins": _plugins(),
        "trackers": "; ".join(_trackers()),
        "data": _data(),
        "disk": _disk(),
    }


def _devices() -> list[str]:
    found = [f"cpu ({torch.backends.cpu.get_cpu_capability()})"]
    for index in range(torch.cuda.device_count()):
        free, whole = (size / 2**30 for size in torch.cuda.mem_get_info(index))
        found.append(f"cuda:{index} ({torch.cuda.get_device_name(index)}, {free:.1f} of {whole:.1f} GiB free)")
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _plugins() -> str:
    try:
        names = import_all()
    except MatxError as error:
        return f"NOT imported: {error}"
    components = sum(len(registry) for registry in REGISTRIES.values())
    return f"{', '.join(names)}: {components} components"


def _trackers() -> list[str]:
    """Each tracker, as it is without options: ready, or what it lacks."""
    found = []
    for name, component in REGISTRIES["trackers"].components.items():
        if not any(option.required for option in parameters(component).values()):
            lacks = component().lacks()
            found.append(f"{name} is ready" if lacks is None else f"{name} {lacks}")
    return sorted(found)


def _data() -> str:
    """The folders below data/, where recipes look for datasets that are not embedded."""
    home = Path("data")
    there = sorted(path.name for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
    return f"data/ holds {', '.join(there)}" if there else "no data/ here; embedded datasets need none"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free
    writable = os.access(Path.cwd(), os.W_OK)
    little = ": little for checkpoints" if free < _LITTLE else ""
    return f"{free / 2**30:.1f} GiB free{little}, this folder is {'writable' if writable else 'NOT writable'}"
