"""Robust accuracy by attacking what still stands: clean images, each threat model, and their union (AND per image).

Every figure is a count over samples. A sample that is wrong on the clean image is broken under every threat model; it
stands under one only if it withstands all attacks that share it, and under the union only if it stands under all. What
breaks it at a smaller radius of a norm breaks it at every larger one, for the example lies in that ball too: accuracy
never rises with the radius.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from matx.craft import attackable, forked
from matx.data import Batch, Split, batches
from matx.errors import ModelError, OptionError
from matx.folding import folded
from matx.interfaces import Attack, AttackInput, Model, run_attack
from matx.measure.answers import correct, known_classes, plain_fp32
from matx.measure.records import Record, Records, place
from matx.measure.rounding import towards_clean
from matx.measure.scores import Flags, PeerScores
from matx.measure.threats import by_threat, in_order
from matx.randomness import SampleGenerator, hashed, seed_for
from matx.threat import ThreatModel

__all__ = ["CLEAN_STAGE", "Progress", "evaluate"]

CLEAN_STAGE = "clean"
"""The `threat` that Progress hears, and records carry, for clean images."""


class Progress(Protocol):
    """Told after each batch how far an evaluation is; the caller draws."""

    def __call__(self, peer: str, threat: str, attack: str, done: int, total: int) -> None:
        """`done` of `total` of this peer's attack, in images; threat CLEAN_STAGE and attack '' for clean images.

        An attack made of several searches is named with the one at hand ('AutoAttack 2/4 APGD') and its images count
        once for each, as if all stood until its end. An attack that finds nobody standing is told once, with 0 of 0.
        """
        ...


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
    union_only: bool = False,
    eight_bit: bool = False,
    records: Records | None = None,
) -> dict[str, PeerScores]:
    """The scores of each model on the first `limit` images of a split, in fp32 and eval mode.

    Models take images in [0,1] and are left bit for bit as they were. Draws are keyed by seed, threat model and the
    sample's index in the dataset, the same for every model: batch size changes nothing, comparisons are paired.
    An attack that has `members(classes, rows)` is run as these searches, one after the other over all samples that
    still stand. `union_only`: samples broken under one threat model are not attacked under the next, so there are no
    figures per threat model. `eight_bit`: examples are judged rounded, too. `records`: batches that are there are not
    run again, the others are kept as they end.
    """
    count = len(split.labels) if limit is None else min(limit, len(split.labels))
    if count < 1:
        raise OptionError("evaluate: got no images, allowed: at least one")
    groups = by_threat(attacks)
    scores = {}
    for name, module in models.items():
        with attackable(module, mode="eval") as model, plain_fp32(torch.device(device)):
            stage = _Stage(
                peer=name, model=model, climbed=_lighter(module, split, torch.device(device)), split=split,
                batch_size=batch_size, device=torch.device(device), progress=progress, eight_bit=eight_bit,
                records=records,
            )  # fmt: skip
            flags = _flags(stage, groups, torch.arange(count), seed, union_only=union_only)
        scores[name] = PeerScores.of(flags, per_threat=not union_only)
    return scores


def _lighter(module: nn.Module, split: Split, device: torch.device) -> nn.Module:
    few = torch.arange(min(8, len(split.labels)))
    (batch,) = batches(split, few, len(few), device=device)
    with forked(0, device):
        return folded(module, batch.images)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stage:
    """One model's evaluation: where it reads its images, whom it tells, and where it keeps what it finds."""

    peer: str
    model: Model
    climbed: Model
    """The same function with fewer operations, for attacks; the model itself says what is broken."""
    split: Split
    batch_size: int
    device: torch.device
    progress: Progress | None
    eight_bit: bool
    records: Records | None
    seconds: dict[str, float] = field(default_factory=dict)

    def tell(self, threat: str, attack: str, done: int, total: int) -> None:
        """Tell the caller how far it is."""
        if self.progress is not None:
            self.progress(self.peer, threat, attack, done, total)

    def run(self, trial: _Trial, where: str, rows: Tensor, share: tuple[str, int, int, int]) -> tuple[Tensor, Tensor]:
        """(held, held when rounded), each (rows,) bool on the CPU; share: name, what counts before, by it, in all."""
        name, before, own, total = share
        held, rounded, done = [], [], 0
        for number, start in enumerate(range(0, len(rows), self.batch_size)):
            part = rows[start : start + self.batch_size]
            record = self._batch(trial, place(self.peer, trial.threat, where, number), part)
            held.append(record.held)
            rounded.append(record.held_8bit)
            self.seconds[trial.threat] = self.seconds.get(trial.threat, 0.0) + record.seconds
            done += len(part)
            self.tell(trial.threat, name, before + done * own // len(rows), total)
        return torch.cat(held), torch.cat(rounded)

    def _batch(self, trial: _Trial, where: str, rows: Tensor) -> Record:
        kept = None if self.records is None else self.records.read(where, rows)
        if kept is not None:
            return kept
        began = time.monotonic()
        (batch,) = batches(self.split, rows, len(rows), device=self.device)
        held, rounded, examples = trial(self.model, self.climbed, batch, eight_bit=self.eight_bit, device=self.device)
        record = Record(
            threat=trial.threat, attack=repr(trial.attack) if trial.attack else "", rows=rows,
            indices=batch.indices.cpu(), labels=batch.labels.cpu(), held=held.cpu(), held_8bit=rounded.cpu(),
            examples=examples.cpu().contiguous(), seconds=time.monotonic() - began,
        )  # fmt: skip
        if self.records is not None:
            self.records.write(where, record)
        return record


def _flags(
    stage: _Stage, groups: Mapping[ThreatModel, Sequence[Attack]], rows: Tensor, seed: int, *, union_only: bool
) -> Flags:
    classes = known_classes(stage.peer, stage.model, stage.split, rows, stage.device)
    clean, _ = stage.run(_Trial(), "clean", rows, ("", 0, len(rows), len(rows)))
    found: dict[ThreatModel, tuple[Tensor, Tensor]] = {}
    for threat in in_order(groups):
        standing, rounded = clean.clone(), clean.clone()
        for other, (held, held_rounded) in found.items():
            if union_only or other.norm == threat.norm:
                standing &= held
                rounded &= held_rounded
        for position, attack in enumerate(groups[threat]):
            purpose = (seed, "evaluate", threat.norm, str(threat.exact), position)
            _attack(stage, attack, purpose, rows, standing, rounded, classes)
        found[threat] = standing, rounded
    return Flags(
        clean=clean,
        threats={threat.key: found[threat][0] for threat in groups},
        rounded={threat.key: found[threat][1] for threat in groups} if stage.eight_bit else {},
        seconds=dict(stage.seconds),
    )


def _attack(
    stage: _Stage, attack: Attack, purpose: tuple[int | str, ...], rows: Tensor, standing: Tensor, rounded: Tensor,
    classes: int,
) -> None:  # fmt: skip
    """Run one attack, search by search, and take those that it breaks out of `standing` and `rounded`."""
    name, key, first = type(attack).__name__, attack.threat.key, int(standing.sum())
    members = attack.members(classes, stage.batch_size) if hasattr(attack, "members") else None
    searches: Sequence[Attack] = [attack] if members is None else members
    for number, search in enumerate(searches):
        if not standing.any():
            stage.tell(key, name, first * len(searches), first * len(searches))
            break
        shown = name if members is None else f"{name} {number + 1}/{len(searches)} {type(search).__name__}"
        draws = purpose if members is None else (*purpose, number)
        where = f"{'.'.join(str(part) for part in draws[4:])}-{type(search).__name__}"
        left = standing.nonzero().squeeze(1)
        trial = _Trial(threat=key, attack=search, draws=draws)
        held, held_rounded = stage.run(trial, where, rows[left], (shown, number * first, first, len(searches) * first))
        rounded[left] &= held_rounded
        standing[left] = held


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    """One attack (none: the clean images themselves): which samples withstand it, and what broke the others."""

    threat: str = CLEAN_STAGE
    attack: Attack | None = None
    draws: tuple[int | str, ...] = ()

    def __call__(
        self, model: Model, climbed: Model, batch: Batch, *, eight_bit: bool, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(N,) held, (N,) held when rounded, and the (k, C, H, W) examples of those that did not hold."""
        if self.attack is None:
            right = correct(model, batch.images, batch.labels)
            return right, right, batch.images[:0]
        generator = SampleGenerator(hashed(*self.draws), batch.indices)
        given = AttackInput(model=climbed, images=batch.images, labels=batch.labels, generator=generator, progress=1.0)
        # Whatever a model or an attack draws from the global generators is the same after an interruption.
        with forked(seed_for(*self.draws, int(batch.indices[0])), device):
            found = run_attack(self.attack, given)
            held = correct(model, found, batch.labels)
            threat = self.attack.threat
            outside = int((~threat.contains(found, batch.images)).sum())
            if outside:
                raise ModelError(f"evaluate: {outside} images of {self.attack!r} lie outside {threat.key}")
            rounded = held.clone()
            if eight_bit and not held.all():
                broken = (~held).nonzero().squeeze(1)
                coarse = towards_clean(found[broken], batch.images[broken])
                rounded[broken] = correct(model, coarse, batch.labels[broken])
        return held, rounded, found[~held]
