"""How far the nearest adversarial example that a minimum-norm attack finds is from each image."""

from __future__ import annotations

import torch
from torch import Tensor

from matx.craft import forked
from matx.data import Batch
from matx.interfaces import Attack, AttackInput, Model, found_anywhere
from matx.measure.answers import correct
from matx.randomness import SampleGenerator, hashed, seed_for

__all__ = ["distances"]


def distances(model: Model, attack: Attack, batch: Batch, seed: int) -> Tensor:
    """(N,) float64: the norm of the perturbation found, wherever it lies: the attack's own radius bounds nothing.

    0 where the clean image is misclassified, inf where no misclassified image in [0,1] was found.
    """
    purpose = (seed, "distance", attack.threat.norm, type(attack).__name__)
    draws = SampleGenerator(hashed(*purpose), batch.indices)
    given = AttackInput(model=model, images=batch.images, labels=batch.labels, generator=draws, progress=1.0)
    with forked(seed_for(*purpose, int(batch.indices[0])), batch.images.device):
        found = found_anywhere(attack, given)
    boxed = ((found >= 0.0) & (found <= 1.0)).flatten(1).all(1)
    broken = boxed & ~correct(model, found, batch.labels)
    size = attack.threat.size(found.double() - batch.images.double())
    size = size.masked_fill(~broken, torch.inf)
    return size.masked_fill(~correct(model, batch.images, batch.labels), 0.0)
