"""Set our AutoAttack beside the original: same trained models, same images, same budgets, several seeds of both.

    git clone https://github.com/fra31/auto-attack
    PYTHONPATH=auto-attack OMP_NUM_THREADS=1 python tools/parity_evaluation.py --images 200 --write docs/evaluation.md

The original runs as it is, standard, all three norms. 'above' is our mean robust accuracy less theirs: it should be
within the range of theirs over the seeds, and within 3 samples in 1,000. With --same-starts the APGD of the original
draws its random starts as ours does, so that single flags can be compared; Square still draws its own numbers.

Every run's flags (which images are robust) are kept in --flags as soon as it is done, and what is there is not run
again: the comparison may be stopped, and made row by row (--models, --norms). --again runs ours anew, after a change.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from page_tables import put
from parity_original import of_restart, of_target, start_like_ours, whole
from torch import Tensor, nn
from trained_models import Images, arguments, load, models

import matx
from matx.data import MemorySplit
from matx.measure import EvaluationSettings, flags_of
from matx.randomness import SampleGenerator
from matx.threat import NORMS, ThreatModel

Flags = np.ndarray[Any, np.dtype[np.bool_]]
"""(images,) or (seeds, images): True where robust."""
HEADS = {
    False: (
        "| model | threat | clean | seeds | ours: mean [lowest, highest] | original | above | only ours breaks, always "
        "| only theirs, always | within its range | within 3 in 1,000 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ),
    True: (
        "| model | threat | ours: mean [lowest, highest] | original | by seed: + broken by ours alone, - by theirs "
        "| within 2 in 1,000 |",
        "|---|---|---|---|---|---|",
    ),
}


def evaluated(module: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, queries: int, seed: int) -> Flags:
    """Ours, as `matx eval` runs it."""
    attack: Any = matx.attacks["autoattack"]
    split = MemorySplit.of(images, labels)
    settings = EvaluationSettings(attacks=[attack(threat=threat, queries=queries)], seed=seed, batch_size=len(labels))
    return flags_of({"model": module}, split, settings)["model"].union.numpy()


def called(module: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, queries: int, seed: int) -> Flags:
    """Ours, called with a generator whose draws the original can repeat."""
    attack: Any = matx.attacks["autoattack"]
    draws = SampleGenerator(seed, torch.arange(len(labels)))
    given = matx.AttackInput(model=module, images=images, labels=labels, generator=draws)
    return _robust(module, attack(threat=threat, queries=queries)(given), labels)


def original(module: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, queries: int, seed: int) -> Flags:
    """Theirs, as it is."""
    found: Tensor = whole(module, threat, queries, seed).run_standard_evaluation(images, labels, bs=len(labels))
    return _robust(module, found, labels)


def started(module: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, queries: int, seed: int) -> Flags:
    """Theirs, from our random starts."""
    made, draws = whole(module, threat, queries, seed), SampleGenerator(seed, torch.arange(len(labels)))
    start_like_ours(made.apgd, images, draws.at("autoattack", 0), of_restart)
    start_like_ours(made.apgd_targeted, images, draws.at("autoattack", 1), of_target)
    return _robust(module, made.run_standard_evaluation(images, labels, bs=len(labels)), labels)


def _robust(module: nn.Module, found: Tensor, labels: Tensor) -> Flags:
    with torch.no_grad():
        robust: Flags = (module(found).argmax(1) == labels).numpy()
    return robust


RUNS = {"ours": evaluated, "original": original, "ours, called": called, "original, our starts": started}


def remember(path: Path, key: str, flags: Flags) -> None:
    """Add to the file, whole or not at all."""
    kept = dict(np.load(path)) if path.is_file() else {}
    part = path.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(part, **{**kept, key: flags})
    part.replace(path)


def measured(
    who: str, seeds: int, module: nn.Module, label: str, threat: ThreatModel, seen: Images, options: argparse.Namespace
) -> Flags:
    """(seeds, images) of one side of a row, read from --flags or run."""
    runs = []
    for seed in range(seeds):
        key = f"{label} {threat.key} {len(seen.test_labels)} images {options.queries} queries {who} {seed}"
        kept = dict(np.load(options.flags)) if options.flags.is_file() else {}
        if key not in kept or (options.again and who.startswith("ours")):
            kept[key] = RUNS[who](module, seen.test, seen.test_labels, threat, options.queries, seed)
            remember(options.flags, key, kept[key])
        runs.append(kept[key])
    return np.stack(runs)


def row(name: str, threat: ThreatModel, clean: float, mine: Flags, its: Flags) -> str:
    own, shares = mine.mean(1), its.mean(1)
    above, spread = float(own.mean() - shares.mean()), float(shares.max() - shares.min())
    only_ours = int((its.all(0) & ~mine.any(0)).sum())
    only_theirs = int((~its.any(0) & mine.all(0)).sum())
    return (
        f"| {name} | {threat.key} | {clean:.3f} | {len(own)}, {len(shares)} | {_range(own)} | {_range(shares)} "
        f"| {above:+.4f} | {only_ours} | {only_theirs} "
        f"| {_word(above <= spread + 1e-9)} | {_word(above <= 0.003 + 1e-9)} |"
    )


def paired_row(name: str, threat: ThreatModel, mine: Flags, its: Flags) -> str:
    pairs = [(int((b & ~a).sum()), int((a & ~b).sum())) for a, b in zip(mine, its, strict=True)]
    fits = all(gained + lost <= 0.002 * mine.shape[1] for gained, lost in pairs)
    changes = ", ".join(f"+{gained} -{lost}" for gained, lost in pairs)
    return f"| {name} | {threat.key} | {_range(mine.mean(1))} | {_range(its.mean(1))} | {changes} | {_word(fits)} |"


def _range(shares: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    return f"{shares.mean():.4f} [{shares.min():.4f}, {shares.max():.4f}]"


def _word(fits: bool) -> str:
    return "yes" if fits else "NO"


def fingerprint(module: nn.Module, images: Tensor) -> str:
    """Of weights and images, so that flags of others are never taken for theirs."""
    parts = [*module.state_dict().values(), images]
    return hashlib.blake2b(b"".join(part.contiguous().numpy().tobytes() for part in parts), digest_size=4).hexdigest()


def main() -> None:
    parser = arguments(__doc__, images=200)
    parser.add_argument("--norms", default=",".join(NORMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--own-seeds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--same-starts", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--flags", type=Path, default=Path("parity_flags.npz"))
    parser.add_argument("--write", type=Path, default=None, help="put the table between this file's markers")
    options = parser.parse_args()
    images = load(options.npz, options.train, options.images)
    found, paired = models(images, options.folder, options.epochs), options.same_starts
    sides = ("ours, called", "original, our starts") if paired else ("ours", "original")
    counts = (options.seeds, options.seeds) if paired else (options.own_seeds, options.seeds)
    lines = [*HEADS[paired]]
    print("\n".join(lines), flush=True)
    for threat in (threat for threat in images.threats if threat.norm in options.norms.split(",")):
        for name in options.models.split(","):
            module, clean = found[name], _robust(found[name], images.test, images.test_labels).mean()
            label = f"{images.name} {name} {fingerprint(module, images.test)}"
            mine, its = (
                measured(side, count, module, label, threat, images, options)
                for side, count in zip(sides, counts, strict=True)
            )
            table = paired_row(name, threat, mine, its) if paired else row(name, threat, float(clean), mine, its)
            lines.append(table)
            print(table, flush=True)
    if options.write is not None:
        put(options.write, f"parity {images.name} {options.images}{' same starts' if paired else ''}", lines)


if __name__ == "__main__":
    main()
