"""Set our AutoAttack beside the original: same trained models, same images, same budgets, several seeds of theirs.

    pip install git+https://github.com/fra31/auto-attack
    OMP_NUM_THREADS=1 python tools/parity_evaluation.py --images 200 --queries 1000 --write docs/evaluation.md

The original runs with --seeds seeds, as it is, all three norms; ours with --own-seeds. 'above' is our mean robust
accuracy less theirs: it should be within the range of theirs over the seeds, and within 3 samples in 1,000.
--flags keeps who stood under every run of theirs, (seeds, images) a model and threat model, and reads what is there.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_models import NAMES, load, models
from benchmark_page import put
from torch import Tensor, nn

import matx
from matx.data import MemorySplit
from matx.evaluate import evaluate
from matx.threat import ThreatModel

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def ours(module: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, queries: int, seed: int) -> Tensor:
    """(N,) bool: who stands."""
    attack: Any = matx.attacks["autoattack"]
    attacks = [attack(threat=threat, queries=queries)]
    split = MemorySplit.of(images, labels)
    found = evaluate({"model": module}, split, attacks, seed=seed, batch_size=len(labels))
    return found["model"].flags.union


def theirs(module: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, queries: int, seed: int) -> Tensor:
    """(N,) bool: who stands."""
    whole: Any = import_module("autoattack").AutoAttack(
        module, norm=NORMS[threat.norm], eps=threat.radius, seed=seed, device="cpu", verbose=False
    )
    whole.square.n_queries = queries
    found: Tensor = whole.run_standard_evaluation(images, labels, bs=len(labels))
    with torch.no_grad():
        stands: Tensor = module(found).argmax(1) == labels
    return stands


Flags = np.ndarray[Any, np.dtype[np.bool_]]
"""(seeds, images): who stands."""


def row(name: str, threat: ThreatModel, mine: Flags, its: Flags) -> str:
    own, shares = mine.mean(1), its.mean(1)
    above, spread = float(own.mean() - shares.mean()), float(shares.max() - shares.min())
    only_ours = int((its.all(0) & ~mine.any(0)).sum())
    only_theirs = int((~its.any(0) & mine.all(0)).sum())
    return (
        f"| {name} | {threat.key} | {_range(own)} | {_range(shares)} | {above:+.4f} | {only_ours} | {only_theirs} "
        f"| {'yes' if above <= spread + 1e-9 else 'NO'} | {'yes' if above <= 0.003 + 1e-9 else 'NO'} |"
    )


def _range(shares: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    return f"{shares.mean():.4f} [{shares.min():.4f}, {shares.max():.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, default=None)
    parser.add_argument("--folder", type=Path, default=Path("benchmark_models"), help="where trained models are kept")
    parser.add_argument("--models", default=",".join(NAMES))
    parser.add_argument("--norms", default=",".join(NORMS))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--train", type=int, default=8000)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--own-seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--flags", type=Path, default=Path("parity_flags.npz"))
    parser.add_argument("--write", type=Path, default=None, help="put the table between this file's markers")
    options = parser.parse_args()
    images = load(options.npz, options.train, 1000)
    found = models(images, options.folder, options.epochs)
    kept = dict(np.load(options.flags)) if options.flags.is_file() else {}
    lines = [
        "| model | threat | ours: mean [lowest, highest] | original | above | broken by ours alone, always "
        "| by theirs alone, always | within its range | within 3 in 1,000 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    seen, labels = images.test[: options.images], images.test_labels[: options.images]
    for threat in (threat for threat in images.threats if threat.norm in options.norms.split(",")):
        for name in options.models.split(","):
            key = f"{images.name} {name} {threat.key} {options.images} {options.queries}"
            if key not in kept or len(kept[key]) < options.seeds:
                runs = [theirs(found[name], seen, labels, threat, options.queries, s) for s in range(options.seeds)]
                kept[key] = torch.stack(runs).numpy()
                np.savez_compressed(options.flags, allow_pickle=False, **kept)
            mine = [ours(found[name], seen, labels, threat, options.queries, s) for s in range(options.own_seeds)]
            lines.append(row(name, threat, torch.stack(mine).numpy(), kept[key]))
            print(lines[-1], flush=True)
    if options.write is not None:
        put(options.write, f"parity {images.name}", lines)


if __name__ == "__main__":
    main()
