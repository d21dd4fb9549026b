"""A dry run: everything is built, some real steps are taken, and nothing is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from matx.config import Loaded
from matx.run.building import built, cautions
from matx.run.estimate import Estimate, estimate
from matx.run.two_processes import seconds_in_two
from matx.runtime.folder import refuse_existing

__all__ = ["DryRun", "dry_run"]

log = logging.getLogger("matx.run")


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What some real steps showed."""

    name: str
    device: torch.device
    parameters: Mapping[str, int]
    """Per peer, how many weights are trained."""
    estimate: Estimate
    threads: int
    """With which it was estimated."""
    seconds_in_two: float | None
    """An estimate of a step in two processes of one thread; None where they cannot share it."""


def dry_run(loaded: Loaded, *, out: Path | None = None, device: str = "auto") -> DryRun:
    """Build everything, take some real steps, and estimate what the training will cost; nothing is written."""
    refuse_existing(out)
    training = built(loaded, device)
    for caution in cautions(loaded, training):
        log.warning("%s", caution)
    return DryRun(
        name=loaded.name,
        device=training.device,
        parameters={
            name: sum(p.numel() for p in learner.module.parameters() if p.requires_grad)
            for name, learner in training.learners.items()
        },
        estimate=estimate(training),
        threads=torch.get_num_threads(),
        seconds_in_two=seconds_in_two(training),
    )
