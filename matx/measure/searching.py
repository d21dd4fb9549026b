"""Attacks on the samples of a batch that are still robust: clean images, each threat model, search by search.

A sample that is wrong on the clean image is broken under every threat model; it is robust under one only if it is right
on what all attacks that share it find. What breaks it at a smaller radius of a norm breaks it at every larger one, for
the example lies in that ball too: accuracy never rises with the radius.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from matx.craft import forked
from matx.data import Batch
from matx.errors import ModelError
from matx.interfaces import Attack, AttackInput, Composite, Findings, Model, Search, run_attack
from matx.measure.answers import correct
from matx.measure.records import Records, SearchRecord, place
from matx.measure.settings import EvaluationSettings
from matx.measure.threats import by_threat, in_order
from matx.randomness import SampleGenerator, hashed, seed_for
from matx.threat import ThreatModel

__all__ = ["CLEAN_STAGE", "Searching", "Told", "find"]

CLEAN_STAGE = "clean"
"""The `threat` of records of clean images, and the key of their seconds."""

Told = Callable[[str, str, float], None]
"""told(model, what, share): after each search, the share of all searches on this batch and model that is done."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Searching:
    """One model and one batch of its evaluation."""

    name: str
    model: Model
    light: Model
    """What attacks are given: a copy with fewer operations, where there is one; the model itself judges."""
    classes: int
    batch: Batch
    rows: Tensor
    """The places of the batch's samples in the split."""
    number: int
    """Of the batch."""
    settings: EvaluationSettings
    records: Records | None = None
    told: Told | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """{CLEAN_STAGE or threat key: what it cost}, added to."""


def find(task: Searching) -> Findings:
    """What every attack of the settings, those of the grid among them, finds on the batch."""
    clean = _kept(task, CLEAN_STAGE, None, (), torch.arange(len(task.rows))).robust
    groups = by_threat((*task.settings.attacks, *task.settings.grid))
    robust: dict[ThreatModel, Tensor] = {}
    searches: list[Search] = []
    attacks = sum(map(len, groups.values()))
    done = 0
    for threat in in_order(groups):
        left = clean.clone()
        for other, flags in robust.items():
            if task.settings.union_only or other.norm == threat.norm:
                left &= flags
        for position, attack in enumerate(groups[threat]):
            purpose = (task.settings.draws, "evaluate", threat.norm, str(threat.exact), position)
            searches += _searches(task, attack, purpose, left)
            done += 1
            if task.told is not None:
                task.told(task.name, f"{threat.key} {type(attack).__name__}", done / attacks)
        robust[threat] = left
    return Findings(clean=clean, robust={threat: robust[threat] for threat in groups}, searches=tuple(searches))


def _searches(task: Searching, attack: Attack, purpose: tuple[int | str, ...], left: Tensor) -> Sequence[Search]:
    """An attack on the samples that are left, out of which it takes those that it breaks.

    One made of several searches goes on with those left by each.
    """
    members = attack.members(task.classes, task.settings.batch_size) if isinstance(attack, Composite) else None
    parts: Sequence[Attack] = [attack] if members is None else members
    found = []
    for number, part in enumerate(parts):
        rows = left.nonzero().squeeze(1)
        if len(rows) == 0:
            break
        draws = purpose if members is None else (*purpose, number)
        record = _kept(task, attack.threat.key, part, draws, rows)
        found.append(Search(threat=attack.threat, rows=rows, robust=record.robust, examples=record.examples))
        left[rows] = record.robust
    return found


def _kept(
    task: Searching, threat: str, attack: Attack | None, draws: tuple[int | str, ...], rows: Tensor
) -> SearchRecord:
    """The record of a search: read where it was kept, else made and kept."""
    stage = CLEAN_STAGE if attack is None else f"{'.'.join(map(str, draws[4:]))}-{type(attack).__name__}"
    where, split_rows = place(task.name, threat, stage, task.number), task.rows[rows]
    record = None if task.records is None else task.records.read_search(where, split_rows)
    if record is None:
        record = _searched(task, threat, attack, draws, rows)
        if task.records is not None:
            task.records.write_search(where, record)
    task.seconds[threat] = task.seconds.get(threat, 0.0) + record.seconds
    return record


def _searched(
    task: Searching, threat: str, attack: Attack | None, draws: tuple[int | str, ...], rows: Tensor
) -> SearchRecord:
    began, some = time.monotonic(), rows.to(task.batch.labels.device)
    batch = Batch(task.batch.images[some], task.batch.labels[some], task.batch.indices[rows])
    if attack is None:
        robust, examples = correct(task.model, batch.images, batch.labels), batch.images[:0]
    else:
        found = _attacked(task, attack, draws, batch)
        robust = correct(task.model, found, batch.labels)
        examples = found[~robust]
    return SearchRecord(
        threat=threat,
        attack=repr(attack) if attack else "",
        rows=task.rows[rows],
        indices=batch.indices.cpu(),
        labels=batch.labels.cpu(),
        robust=robust.cpu(),
        examples=examples.cpu().contiguous(),
        seconds=time.monotonic() - began,
    )


def _attacked(task: Searching, attack: Attack, draws: tuple[int | str, ...], batch: Batch) -> Tensor:
    generator = SampleGenerator(hashed(*draws), batch.indices)
    given = AttackInput(model=task.light, images=batch.images, labels=batch.labels, generator=generator, progress=1.0)
    # Whatever a model or an attack draws from the global generators is the same after an interruption.
    with forked(seed_for(*draws, int(batch.indices[0])), batch.images.device):
        found = run_attack(attack, given)
    outside = int((~attack.threat.contains(found, batch.images)).sum())
    if outside:
        raise ModelError(f"evaluate: {outside} images of {attack!r} lie outside {attack.threat.key}")
    return found
