"""The sentinel: checks beside every score that would show a model that only looks robust, or an evaluation too weak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from matx.craft import attackable, forked
from matx.data import Split, batches
from matx.draws import seed_for
from matx.evaluate.answers import plain_fp32
from matx.evaluate.sanity.finding import Finding, Status, worst
from matx.evaluate.sanity.manners import manners
from matx.evaluate.sanity.searches import Bench, black_box, growth, huge_radius, more_steps, noise, transfer
from matx.evaluate.scores import Flags
from matx.evaluate.threats import by_threat
from matx.interfaces import Attack

__all__ = ["Finding", "Status", "inspect", "verdict"]


def inspect(
    module: nn.Module,
    split: Split,
    attacks: Sequence[Attack],
    flags: Flags,
    *,
    seed: int,
    black_boxes: Sequence[Attack] = (),
    others: Mapping[str, nn.Module] | None = None,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> tuple[Finding, ...]:
    """Every check of one model's score: `flags` of `attacks` on the first images of the split.

    `black_boxes` are attacks that ask no gradient, one for each threat model that they shall doubt; `others` are models
    to transfer from. Without them these two checks are left out, as is 'more steps' where no attack has steps. The
    model is left bit for bit as it was.
    """
    place, others = torch.device(device), others or {}
    sample = torch.arange(min(len(flags.clean), batch_size, 128))
    with plain_fp32(place), forked(seed_for(seed, "sanity"), place):
        (batch,) = batches(split, sample, len(sample), device=place)
        found = manners(module, batch.images, batch.labels)
        with attackable(module) as model:
            bench = Bench(
                model=model, split=split, clean=flags.clean, standing=flags.threats, seed=seed, batch_size=batch_size,
                device=place,
            )  # fmt: skip
            found.append(huge_radius(bench))
            for threat, members in by_threat(attacks).items():
                found += [growth(bench, threat), noise(bench, threat)]
                found += [black_box(bench, attack) for attack in black_boxes if attack.threat == threat]
                if others:
                    found.append(transfer(bench, threat, others))
                again = more_steps(bench, threat, members)
                found += [] if again is None else [again]
    return tuple(found)


def verdict(findings: Sequence[Finding]) -> Status:
    """The gravest status."""
    return worst("pass", *(finding.status for finding in findings))
