"""A picture for TensorBoard: clean images above what attacks make of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from matx.craft import attackable, forked
from matx.data import Split, batches
from matx.interfaces import Attack, AttackInput, run_attack
from matx.learner import Learner
from matx.randomness import SampleGenerator, hashed, seed_for

__all__ = ["gallery"]

_IMAGES = 8
_SIDE = 64
"""Small images are enlarged to about so many pixels."""


def gallery(learner: Learner, split: Split, attacks: Sequence[Attack], *, seed: int, device: torch.device) -> Tensor:
    """(C, H, W) in [0,1]: the first images of a split in a row, below it a row for each attack on the learner."""
    rows = torch.arange(min(_IMAGES, len(split.labels)))
    batch = next(iter(batches(split, rows, len(rows), device=device)))
    strips = [batch.images]
    with attackable(learner.module, call=learner.forward) as model, forked(seed_for(seed, "gallery"), device):
        for position, attack in enumerate(attacks):
            generator = SampleGenerator(hashed(seed, "gallery", position), batch.indices)
            given = AttackInput(
                model=model, images=batch.images, labels=batch.labels, generator=generator, progress=1.0
            )
            strips.append(run_attack(attack, given))
    return _tiled(torch.stack(strips))


def _tiled(strips: Tensor) -> Tensor:
    """(rows, n, C, H, W) -> (1 or 3, rows * H, n * W), enlarged, with a line of white around each image."""
    channels = strips.shape[2]
    colours = strips if channels in (1, 3) else strips.mean(2, keepdim=True)
    factor = max(1, _SIDE // max(strips.shape[-2:]))
    large = colours.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    framed = F.pad(large, (1, 1, 1, 1), value=1.0)
    rows, count, depth, height, width = framed.shape
    return framed.permute(2, 0, 3, 1, 4).reshape(depth, rows * height, count * width)
