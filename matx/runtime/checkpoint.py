"""Checkpoints: written whole or not at all, read without running code, and tied to the experiment that made them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from matx.errors import CheckpointError
from matx.runtime.files import write_torch

__all__ = [
    "HARMLESS",
    "Checkpoint",
    "differences",
    "load",
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
    provenance: Mapping[str, str | int]
    """What bit for bit equality depends on beside the settings, from `environment.provenance`."""
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


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; whoever reads the path sees the old file or the new one, never a part."""
    write_torch(path, {"schema": SCHEMA} | {part.name: getattr(checkpoint, part.name) for part in fields(checkpoint)})


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
    stored.setdefault("provenance", stored.get("circumstances"))  # its name until version 0.1
    try:
        found = Checkpoint(**{part.name: stored[part.name] for part in fields(Checkpoint)})
    except KeyError as error:
        raise CheckpointError(f"{path}: damaged: it holds no {error.args[0]!r}") from error
    parts = (found.training, found.settings, found.provenance, found.data)
    if not all(isinstance(part, Mapping) for part in parts) or not isinstance(found.provenance.get("threads"), int):
        raise CheckpointError(f"{path}: damaged: its parts are not those that matx writes")
    return found
