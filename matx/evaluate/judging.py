"""Scores: accuracy on clean images, per threat model, and under their union (the worst case per image).

Every figure is a count over samples with its interval. A sample that is wrong on the clean image is broken under every
threat model; it stands under one only if it withstands all attacks that share it, and under the union only if it stands
under all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from matx.craft import attackable, forked, guarded
from matx.data import Batch, Split, batches
from matx.draws import SampleGenerator, hashed, seed_for
from matx.errors import ModelError, OptionError
from matx.evaluate.scores import Flags, PeerScores
from matx.interfaces import Attack, Goal, Model
from matx.threat import ThreatModel

__all__ = ["CLEAN_STAGE", "Progress", "by_threat", "evaluate"]

CLEAN_STAGE = "clean"
"""The `threat` that Progress hears while clean images are classified."""


class Progress(Protocol):
    """Told after each batch how far an evaluation is; the caller draws."""

    def __call__(self, peer: str, threat: str, attack: str, done: int, total: int) -> None:
        """`done` of `total` samples of this peer's attack; threat CLEAN_STAGE and attack '' for clean images."""
        ...


def by_threat(attacks: Sequence[Attack]) -> dict[ThreatModel, tuple[Attack, ...]]:
    """The attacks of each threat model, compared by value, in order of first appearance."""
    groups: dict[ThreatModel, tuple[Attack, ...]] = {}
    for attack in attacks:
        sources: Sequence[str] = getattr(attack, "sources", ())
        if sources:
            raise OptionError(
                f"Evaluation.attacks: got {attack!r}, which reads examples of {', '.join(sources)}; "
                "allowed: attacks that need nobody else's examples"
            )
        groups[attack.threat] = (*groups.get(attack.threat, ()), attack)
    return groups


def evaluate(
    models: Mapping[str, nn.Module],
    split: Split,
    attacks: Sequence[Attack],
    *,
    seed: int,
    batch_size: int = 256,
    limit: int | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> dict[str, PeerScores]:
    """The scores of each model on the first `limit` images of a split, in fp32 and eval mode.

    Models take images in [0,1] and are left bit for bit as they were. Draws are keyed by seed, threat model and the
    sample's index in the dataset, the same for every model: batch size changes nothing, comparisons are paired.
    """
    count = len(split.labels) if limit is None else min(limit, len(split.labels))
    if count < 1:
        raise OptionError("evaluate: got no images, allowed: at least one")
    groups = by_threat(attacks)
    scores = {}
    for name, module in models.items():
        stage = _Stage(name, split, batch_size, torch.device(device), progress)
        with attackable(module, mode="eval") as model, _plain_fp32(stage.device):
            scores[name] = PeerScores.of(_flags(stage, model, groups, torch.arange(count), seed))
    return scores


@dataclass(frozen=True, eq=False)
class _Stage:
    """Where one model's evaluation reads its images and whom it tells."""

    peer: str
    split: Split
    batch_size: int
    device: torch.device
    progress: Progress | None

    def right(self, threat: str, attack: str, rows: Tensor, judge: Callable[[Batch], Tensor]) -> Tensor:
        """(rows,) bool on the CPU: what `judge` says of these rows, batch by batch."""
        verdicts: list[Tensor] = []
        done = 0
        for batch in batches(self.split, rows, self.batch_size, device=self.device):
            verdicts.append(judge(batch).cpu())
            done += len(batch.labels)
            if self.progress is not None:
                self.progress(self.peer, threat, attack, done, len(rows))
        return torch.cat(verdicts)


def _flags(
    stage: _Stage, model: Model, groups: Mapping[ThreatModel, Sequence[Attack]], rows: Tensor, seed: int
) -> Flags:
    clean = stage.right(CLEAN_STAGE, "", rows, lambda batch: _correct(model, batch.images, batch.labels))
    threats = {}
    for threat, members in groups.items():
        standing = clean.clone()
        for position, attack in enumerate(members):
            if not standing.any():
                break
            left = rows[standing]
            purpose = (seed, "evaluate", threat.norm, str(threat.exact), position)
            trial = _Trial(model, guarded(attack), hashed(*purpose))
            with forked(seed_for(*purpose), stage.device):
                held = stage.right(threat.key, type(attack).__name__, left, trial)
            standing[standing.clone()] = held
        threats[threat.key] = standing
    return Flags(clean=clean, threats=threats)


@dataclass(frozen=True, eq=False)
class _Trial:
    """One attack on one model: which samples of a batch withstand it."""

    model: Model
    attack: Attack
    key: int

    def __call__(self, batch: Batch) -> Tensor:
        generator = SampleGenerator(self.key, batch.indices)
        goal = Goal(model=self.model, images=batch.images, labels=batch.labels, generator=generator, progress=1.0)
        found = self.attack(goal)
        outside = int((~self.attack.threat.contains(found, batch.images)).sum())
        if outside:
            raise ModelError(f"evaluate: {outside} images of {self.attack!r} lie outside {self.attack.threat.key}")
        return _correct(self.model, found, batch.labels)


@torch.no_grad()
def _correct(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """(N,) bool; an answer that is not finite counts as wrong."""
    logits = model(images)
    return (logits.argmax(1) == labels) & logits.isfinite().all(1)


@contextmanager
def _plain_fp32(device: torch.device) -> Iterator[None]:
    """No autocast of the caller's, and no TF32 in convolutions and matrix products."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products
