"""What a model answers, under the conditions in which figures are made: fp32, and nothing that is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from matx.craft import tf32
from matx.data import Split, batches
from matx.errors import ModelError
from matx.interfaces import Model, copied, refuse_writes

__all__ = ["correct", "known_classes", "plain_fp32"]


@torch.no_grad()
def correct(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """(N,) bool; an answer that is not finite counts as wrong."""
    logits = model(images)
    return (logits.argmax(1) == labels) & logits.isfinite().all(1)


@contextmanager
def plain_fp32(device: torch.device) -> Iterator[None]:
    """No autocast of the caller's, and no TF32 in convolutions and matrix products."""
    with tf32(allowed=False), torch.autocast(device.type, enabled=False):
        yield


@torch.no_grad()
def known_classes(name: str, model: Model, split: Split, rows: Tensor, device: torch.device) -> int:
    """How many classes a model knows; ModelError where it writes into images, or answers with no logits, or too few."""
    (batch,) = batches(split, rows[:1], 1, device=device)
    seen = copied(batch.images)
    logits = model(seen)
    refuse_writes(model, seen, batch.images, f"model {name!r}")
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        what = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"model {name!r}: answers one image with {what}, allowed: logits of shape (1, classes)")
    needed = max(2, int(split.labels.max()) + 1)
    if logits.shape[1] < needed:
        raise ModelError(f"model {name!r}: got {logits.shape[1]} classes, allowed: at least {needed}, as labelled")
    return logits.shape[1]
