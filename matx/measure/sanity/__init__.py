"""Sanity checks beside every score, which would show a model that only looks robust, or an evaluation too weak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matx.craft import attackable, forked
from matx.data import Split, batches
from matx.distributed import SINGLE, World
from matx.interfaces import Attack, Composite
from matx.measure.answers import plain_fp32
from matx.measure.rates import Flags
from matx.measure.sanity.effort import EFFORTS, FULL, QUICK, Effort
from matx.measure.sanity.finding import Finding, Status, worst
from matx.measure.sanity.model_checks import model_checks
from matx.measure.sanity.objectives import another_objective, objective_of, rescaled
from matx.measure.sanity.searches import Bench, black_box, growth, huge_radius, more_steps, noise, transfer
from matx.measure.settings import EvaluationSettings
from matx.measure.threats import by_threat
from matx.randomness import seed_for

__all__ = ["EFFORTS", "FULL", "QUICK", "Effort", "Finding", "Scored", "Status", "inspect", "verdict", "worst"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """A model, the split whose first images were attacked, and which of them are robust."""

    module: nn.Module
    split: Split
    flags: Flags


def inspect(
    scored: Scored,
    settings: EvaluationSettings,
    *,
    searches: Sequence[Attack] = (),
    others: Mapping[str, nn.Module] | None = None,
    effort: Effort = FULL,
    device: torch.device | str = "cpu",
    world: World = SINGLE,
) -> tuple[Finding, ...]:
    """Every check of the score of one model under the settings' attacks; every process of the world gets all findings.

    `searches` are attacks whose objective says what they are for, each for the scores of its threat model: without one,
    a black box; cross-entropy, on rescaled logits; another, as it is. `others` are models to transfer from. Checks that
    have none are left out, as is 'more steps' where no attack has steps.
    With the effort QUICK searches ask a sample, and are graded by what is surely broken. Models are left bit for bit
    as they were.
    """
    place, others = torch.device(device), others or {}
    module, split, flags = scored.module, scored.split, scored.flags
    sample = torch.arange(min(len(flags.clean), settings.batch_size, 128))
    with plain_fp32(place), forked(seed_for(settings.draws, "sanity"), place):
        (batch,) = batches(split, sample, len(sample), device=place)
        found = model_checks(module, batch.images, batch.labels)
        with ExitStack() as stack:
            model = stack.enter_context(attackable(module))
            sources = {name: stack.enter_context(attackable(other)) for name, other in others.items()}
            bench = Bench(
                model=model, split=split, clean=flags.clean, robust=flags.threats, seed=settings.draws,
                batch_size=settings.batch_size, device=place, effort=effort, world=world,
            )  # fmt: skip
            found.append(huge_radius(bench))
            for threat, members in by_threat(settings.attacks).items():
                found += [growth(bench, threat), noise(bench, threat)]
                found += [_searched(bench, attack) for attack in searches if attack.threat == threat]
                if sources:
                    found.append(transfer(bench, threat, sources))
                again = more_steps(
                    bench, threat, members if effort.whole_suite else _first(members, bench, batch.images)
                )
                found += [] if again is None else [again]
    return tuple(found)


def _searched(bench: Bench, attack: Attack) -> Finding:
    """The check that a further search is for."""
    objective = objective_of(attack)
    if objective is None:
        return black_box(bench, attack)
    return rescaled(bench, attack) if objective == "cross_entropy" else another_objective(bench, attack)


def _first(members: Sequence[Attack], bench: Bench, images: Tensor) -> Sequence[Attack]:
    """The first search that goes in steps, of the attacks in their order; none where there is none."""
    with torch.no_grad():
        classes = bench.model(images[:1]).shape[1]
    for attack in members:
        searches = attack.members(classes, bench.batch_size) if isinstance(attack, Composite) else (attack,)
        found: list[Attack] = [search for search in searches if hasattr(search, "steps")]
        if found:
            return found[:1]
    return ()


def verdict(findings: Sequence[Finding], threat: str | None = None) -> Status:
    """The gravest status; with a threat key, of what concerns this score: general findings and its own."""
    concerned = [finding for finding in findings if threat is None or finding.threat in (None, threat)]
    return worst("pass", *(finding.status for finding in concerned))
