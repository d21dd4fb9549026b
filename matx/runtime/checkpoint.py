"""Checkpoints: written whole or not at all, read without running code, and tied to the experiment that made them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from matx.errors import CheckpointError, DamagedError, MatxError
from matx.runtime.files import keep_as, name_unchecked, read_torch, write_torch
from matx.runtime.folder import RunFolder
from matx.runtime.identity import common_options, refuse_other, upgraded

__all__ = [
    "Checkpoint",
    "kept",
    "load",
    "load_last",
    "load_of",
    "read_last",
    "refuse_other_experiment",
    "refuse_other_images",
    "save",
]

log = logging.getLogger("matx.run")

SCHEMA = 2
_FIRST = {"settings": "identity", "circumstances": "provenance", "data": "images"}
"""{name in schema 1: name now}."""
_FREE = ("micro_batch",)
"""Settings that may change on the way: a run that had too little memory goes on with smaller parts."""


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
    older = upgraded if checkpoint.schema == 1 else common_options
    refuse_other(
        {**older(checkpoint.identity, given), **{path: given[path] for path in _FREE if path in given}},
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


def save(path: Path, checkpoint: Checkpoint, *, previous: Path | None = None) -> None:
    """Write a checkpoint; whoever reads the path sees the old file or the new one, never a part.

    `previous` is where the old one stays, until the next save.
    """
    if previous is not None and path.is_file():
        keep_as(path, previous)
    write_torch(path, {part.name: getattr(checkpoint, part.name) for part in fields(checkpoint)})


def load(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint, tensors and plain values only; a CheckpointError where it is missing, damaged or foreign."""
    if not path.is_file():
        raise DamagedError(f"{path}: no such checkpoint; allowed: best.pt or last.pt of a run folder's checkpoints")
    try:
        stored, checked = read_torch(path, device)
    except Exception as error:  # torch raises many kinds for a damaged file; each means the same to a user
        why = str(error) if type(error) is ValueError else type(error).__name__
        raise DamagedError(f"{path}: damaged, or not a checkpoint ({why})") from error
    schema = stored.get("schema")
    if schema not in (1, SCHEMA):
        raise CheckpointError(f"{path}: got a checkpoint of schema {schema}, allowed: 1 and {SCHEMA}")
    if schema == 1:
        stored = {_FIRST.get(name, name): value for name, value in stored.items()}
    names = [part.name for part in fields(Checkpoint)]
    for name in (*names, *stored):
        if name not in stored or name not in names:
            raise DamagedError(f"{path}: damaged: it holds {'no' if name in names else 'an unknown'} {name!r}")
    found = Checkpoint(**stored)
    parts = (found.training, found.identity, found.provenance, found.images)
    if not all(isinstance(part, Mapping) for part in parts) or not isinstance(found.provenance.get("threads"), int):
        raise DamagedError(f"{path}: damaged: its parts are not those that matx writes")
    name_unchecked(path, checked)
    return found


def load_of(
    path: Path, identity: Mapping[str, str], *, epoch: int | None = None, device: torch.device | str = "cpu"
) -> Checkpoint:
    """Read a checkpoint that must be this experiment's, and of the end of this epoch where one is asked for."""
    found = load(path, device)
    refuse_other_experiment(found, identity, path)
    if epoch is not None and _position(found) != (epoch, 0):
        raise CheckpointError(
            f"{path}: got the state {_when(found)}, allowed: that after epoch {epoch}, which is the best"
        )
    return found


def read_last(folder: RunFolder, device: torch.device | str = "cpu") -> tuple[Checkpoint, Path]:
    """The latest whole checkpoint of a run folder and its file: where last.pt is damaged, the one before."""
    try:
        return load(folder.last, device), folder.last
    except DamagedError as error:
        if not folder.previous.is_file():
            raise
        found = load(folder.previous, device)
        log.warning("%s; the checkpoint before it is used, which holds the state %s", error, _when(found))
        return found, folder.previous


def load_last(folder: RunFolder) -> Checkpoint:
    """The latest whole checkpoint of a locked run folder; where last.pt is damaged, the one before takes its place."""
    found, file = read_last(folder)
    if file == folder.previous:
        if folder.last.exists():
            folder.last.replace(folder.last.with_name("damaged.pt"))
        folder.previous.replace(folder.last)
    return found


def kept(folder: RunFolder) -> str:
    """What of a run is on the disk, in a sentence."""
    for file in (folder.last, folder.previous):
        try:
            return f"{file} is whole and holds the state {_when(load(file))}"
        except (MatxError, OSError, MemoryError):
            continue
    return f"{folder.last} cannot be read now"


def _position(found: Checkpoint) -> tuple[int, int]:
    epoch, step = found.training["position"]
    return int(epoch), int(step)


def _when(found: Checkpoint) -> str:
    epoch, step = _position(found)
    return f"after epoch {epoch}" + (f" and {step} steps" if step else "")
