"""How often images fall whose fate hangs on the random start: our APGD-CE and APGD-T and the original's, many starts.

    PYTHONPATH=auto-attack OMP_NUM_THREADS=1 python tools/parity_starts.py --images 200 --models union --norms linf

Five seeds say little of an image that falls under some starts and not under others. This takes every image whose flags
in --flags (see parity_evaluation.py) differ between runs, attacks --starts copies of it at once, each from a start of
its own, and prints the share that falls, and the robust accuracy that this makes expected.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_evaluation import fingerprint
from parity_original import whole
from torch import Tensor, nn
from trained_models import arguments, load, models

import matx
from matx.randomness import SampleGenerator
from matx.threat import NORMS, ThreatModel


def ours(module: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel) -> Tensor:
    """(N,) bool: broken by one of the first two members of our AutoAttack."""
    attack: Any = matx.attacks["autoattack"]
    given = matx.AttackInput(
        model=module, images=images, labels=labels, generator=SampleGenerator(0, torch.arange(len(labels)))
    )
    classes = module(images[:1]).shape[1]
    broken = torch.zeros_like(labels, dtype=torch.bool)
    for place, member in enumerate(attack(threat=threat).members(classes)[:2]):
        found = member(replace(given, generator=given.generator.at("autoattack", place)))
        broken |= module(found).argmax(1) != labels
    return broken


def theirs(module: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel) -> Tensor:
    """(N,) bool: broken by one of the first two attacks of the original."""
    made = whole(module, threat, 1, 0)
    runs = [attack.perturb(images, labels) for attack in (made.apgd, made.apgd_targeted)]
    return torch.stack([module(found).argmax(1) != labels for found in runs]).any(0)


def main() -> None:
    parser = arguments(__doc__, images=200)
    parser.add_argument("--norms", default=",".join(NORMS))
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--starts", type=int, default=64)
    parser.add_argument("--flags", type=Path, default=Path("parity_flags.npz"))
    options = parser.parse_args()
    data = load(options.npz, options.train, options.images)
    found, kept = models(data, options.folder, options.epochs), dict(np.load(options.flags))
    for threat in (threat for threat in data.threats if threat.norm in options.norms.split(",")):
        for name in options.models.split(","):
            module = found[name]
            start = f"{data.name} {name} {fingerprint(module, data.test)} {threat.key} {options.images} images "
            runs = np.stack([flags for key, flags in kept.items() if key.startswith(start)])
            torn = np.flatnonzero(runs.any(0) & ~runs.all(0)).tolist()
            shares = []
            for row in torn:
                images = data.test[row : row + 1].repeat(options.starts, 1, 1, 1)
                labels = data.test_labels[row : row + 1].repeat(options.starts)
                broken = [side(module, images, labels, threat).float().mean() for side in (ours, theirs)]
                shares.append([float(share) for share in broken])
                print(f"{name} {threat.key} image {row}: ours {broken[0]:.3f}, original {broken[1]:.3f}", flush=True)
            robust = runs.all(0).sum() + (1.0 - np.array(shares or [[1.0, 1.0]])).sum(0)
            mine, its = robust / options.images
            print(f"{name} {threat.key}: expected robust accuracy, ours {mine:.4f}, original {its:.4f}", flush=True)


if __name__ == "__main__":
    main()
