"""Checkpoints: written whole or not at all, read without running code, and tied to the experiment that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from matx.errors import CheckpointError
from matx.runtime.files import write_torch
from matx.runtime.identity import refuse_other, upgraded

__all__ = ["Checkpoint", "load", "refuse_other_experiment", "refuse_other_images", "save"]

SCHEMA = 2
_FIRST = {"settings": "identity", "circumstances": "provenance", "data": "images"}
"""{name in schema 1: name now}."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """The position of a training, and what it must be continued with."""

    training: Mapping[str, Any]
    """What the engine's `Training.state_dict` gave: tensors and plain values."""
    identity: Mapping[str, str]
    """What figures depend on, from `identity.identity_of`; in schema 1 every setting, with modules and paths."""
    provenance: Mapping[str, str | int]
    """What bit for bit equality depends on beside it, from `environment.provenance`."""
    images: Mapping[str, str] = field(default_factory=dict)
    """The fingerprints of the training and validation images."""
    metrics_bytes: int = 0
    """How long metrics.jsonl was when this was saved."""
    schema: int = SCHEMA


def refuse_other_experiment(checkpoint: Checkpoint, given: Mapping[str, str], where: Path) -> None:
    """Refuse to continue with an experiment of another identity than the checkpoint's."""
    refuse_other(
        upgraded(checkpoint.identity, given) if checkpoint.schema == 1 else checkpoint.identity,
        given,
        f"{where}: belongs to another experiment",
        allowed="the settings of its start, but for those on which no figure depends",
        error=CheckpointError,
    )


def refuse_other_images(checkpoint: Checkpoint, given: Mapping[str, str], where: Path) -> None:
    """Refuse to go on with images other than those that the checkpoint was trained on."""
    refuse_other(
        checkpoint.images,
        given,
        f"{where}: the images are not those of the start",
        allowed="the same images, wherever they lie",
        error=CheckpointError,
    )


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; whoever reads the path sees the old file or the new one, never a part."""
    write_torch(path, {part.name: getattr(checkpoint, part.name) for part in fields(checkpoint)})


def load(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint, tensors and plain values only; a CheckpointError where it is missing, damaged or foreign."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; allowed: best.pt or last.pt of a run folder's checkpoints")
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file; each means the same to a user
        raise CheckpointError(f"{path}: damaged, or not a checkpoint ({type(error).__name__})") from error
    schema = stored.get("schema") if isinstance(stored, dict) else None
    if schema not in (1, SCHEMA):
        raise CheckpointError(f"{path}: got a checkpoint of schema {schema}, allowed: 1 and {SCHEMA}")
    if schema == 1:
        stored = {_FIRST.get(name, name): value for name, value in stored.items()}
    try:
        found = Checkpoint(**{part.name: stored[part.name] for part in fields(Checkpoint)})
    except KeyError as error:
        raise CheckpointError(f"{path}: damaged: it holds no {error.args[0]!r}") from error
    parts = (found.training, found.identity, found.provenance, found.images)
    if not all(isinstance(part, Mapping) for part in parts) or not isinstance(found.provenance.get("threads"), int):
        raise CheckpointError(f"{path}: damaged: its parts are not those that matx writes")
    return found
