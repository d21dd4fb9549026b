"""Checkpoints: written whole or not at all, read without running code, and tied to the experiment that made them."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from matx.errors import CheckpointError

__all__ = [
    "HARMLESS",
    "Checkpoint",
    "atomic_write",
    "circumstances",
    "differences",
    "load",
    "lost",
    "refuse_others",
    "save",
    "settings",
]

SCHEMA = 1
HARMLESS = ("checkpoint_every", "tune")
"""Settings of an experiment that may change between start and resume, since no result of a run depends on them."""
_SHOWN = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """Where training stands, and what it must be continued with."""

    training: Mapping[str, Any]
    """What the engine's `Training.state_dict` gave: tensors and plain values."""
    settings: Mapping[str, str]
    """Every setting of the experiment, as text: its fingerprint, from `settings`."""
    circumstances: Mapping[str, str | int]
    """What bit for bit equality hangs on beside the settings, from `circumstances`."""
    data: Mapping[str, str] = field(default_factory=dict)
    """The fingerprints of the training and validation images."""
    metrics_bytes: int = 0
    """How long metrics.jsonl was when this was saved."""


def settings(value: object, prefix: str = "") -> dict[str, str]:
    """Every setting of an experiment, component or noun as `{path: text}`, in declared order; equal iff equal.

    >>> settings((1, 2.5), "x")
    {'x[0]': '1', 'x[1]': '2.5'}
    """
    if is_dataclass(value) and not isinstance(value, type):
        found = {prefix: f"{type(value).__module__}.{type(value).__qualname__}"} if prefix else {}
        for part in fields(value):
            found |= settings(getattr(value, part.name), f"{prefix}.{part.name}" if prefix else part.name)
        return found
    if isinstance(value, Mapping):
        items = [(f"{prefix}.{key}", item) for key, item in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items = [(f"{prefix}[{position}]", item) for position, item in enumerate(value)]
    else:
        return {prefix: repr(value)}
    return {path: text for name, item in items for path, text in settings(item, name).items()} or {prefix: "none"}


def differences(stored: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """What differs between two experiments' settings, one `path: stored -> given` each; harmless ones left out."""
    paths = [*stored, *(path for path in given if path not in stored)]
    return [
        f"{path}: {stored.get(path, 'absent')} -> {given.get(path, 'absent')}"
        for path in paths
        if re.split(r"[.\[]", path)[0] not in HARMLESS and stored.get(path) != given.get(path)
    ]


def refuse_others(checkpoint: Checkpoint, given: Mapping[str, str], where: Path) -> None:
    """Refuse to continue with an experiment other than the checkpoint's; the sentence shows what differs."""
    found = differences(checkpoint.settings, given)
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise CheckpointError(
            f"{where}: belongs to another experiment ({'; '.join(found[:_SHOWN])}{more}); "
            f"allowed: the same settings, but for {', '.join(HARMLESS)}"
        )


def circumstances(device: torch.device | str) -> dict[str, str | int]:
    """What bit for bit equality hangs on beside the experiment: versions, processor or GPU, threads, processes."""
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
    return found | {"threads": torch.get_num_threads(), "processes": 1}


def lost(stored: Mapping[str, str | int], now: Mapping[str, str | int]) -> list[str]:
    """What differs from the circumstances of the start, one `name: then -> now` each; empty: equal bit for bit."""
    return [f"{name}: {stored[name]} -> {now.get(name)}" for name in stored if stored[name] != now.get(name)]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; whoever reads the path sees the old file or the new one, never a part."""
    stored = {"schema": SCHEMA} | {part.name: getattr(checkpoint, part.name) for part in fields(checkpoint)}
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        torch.save(stored, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint, tensors and plain values only; a CheckpointError where it is missing, damaged or foreign."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; allowed: best.pt or last.pt of a run folder's checkpoints")
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file; each means the same to a user
        raise CheckpointError(f"{path}: damaged, or not a checkpoint ({type(error).__name__})") from error
    schema = stored.get("schema") if isinstance(stored, dict) else None
    if schema != SCHEMA:
        raise CheckpointError(f"{path}: got a checkpoint of schema {schema}, allowed: {SCHEMA}")
    try:
        found = Checkpoint(**{part.name: stored[part.name] for part in fields(Checkpoint)})
    except KeyError as error:
        raise CheckpointError(f"{path}: damaged: it holds no {error.args[0]!r}") from error
    parts = (found.training, found.settings, found.circumstances, found.data)
    if not all(isinstance(part, Mapping) for part in parts) or not isinstance(found.circumstances.get("threads"), int):
        raise CheckpointError(f"{path}: damaged: its parts are not those that matx writes")
    return found


def atomic_write(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
