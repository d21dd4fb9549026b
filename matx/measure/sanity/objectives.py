"""Searches by gradients of another objective, or of logits at another scale, than those of the reported attacks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from matx.interfaces import Attack
from matx.measure.sanity.finding import Finding
from matx.measure.sanity.searches import Bench, missing

__all__ = ["another_objective", "objective_of", "rescaled"]

_FACTORS = (0.1, 10.0)
_LIMITS = {"passes": 0.01, "warns": 0.03}
"""Under a margin attack plain adversarial training has 1.6 points less than under PGD on cross-entropy, TRADES 3.1
(ResNet-18 on CIFAR-10, PGD-20 and CW-100; LetheSec/Adversarial_Training_Pytorch): such a gap warns."""


def objective_of(attack: Attack) -> str | None:
    """The name of what an attack maximises by its own option; None where it has no such option."""
    found = getattr(attack, "objective", None)
    return found if isinstance(found, str) else None


def rescaled(bench: Bench, attack: Attack) -> Finding:
    """Logits times 0.1 and times 10 have the same labels, but other gradients of cross-entropy."""
    which = bench.robust[attack.threat.key]
    asked, broken = bench.sample(which), torch.zeros_like(which)
    for factor in _FACTORS:

        def scaled(images: Tensor, factor: float = factor) -> Tensor:
            return factor * bench.model(images)

        broken |= replace(bench, model=scaled).attacked(asked & ~broken, attack, f"logits times {factor}")
    what = f"{type(attack).__name__} on logits times 0.1 and 10"
    return missing("rescaled logits", attack.threat, broken, asked, which, what, **_LIMITS)


def another_objective(bench: Bench, attack: Attack) -> Finding:
    """A search for another objective, such as the margin, which saturates nowhere."""
    which = bench.robust[attack.threat.key]
    asked, name = bench.sample(which), str(objective_of(attack))
    broken = bench.attacked(asked, attack, name)
    return missing(name, attack.threat, broken, asked, which, f"{type(attack).__name__} on the {name}", **_LIMITS)
