"""The study on CIFAR-10.

    python -m tools.results.cifar10 parts cifar10.npz    # the images of every set, in cifar10_parts/
    python -m tools.results.cifar10 gate RUN RUN ...     # keep what runs of at.gin on cifar10_parts/gate.npz showed
    python -m tools.results.cifar10 plan [--count]       # docs/results/cifar10_plan.md; --count: measure first
    OMP_NUM_THREADS=1 python -m tools.results.cifar10 search at mat ...    # trials, in studies/
    OMP_NUM_THREADS=1 python -m tools.results.cifar10 seeds at mat ...     # runs and evaluations, in runs/
    OMP_NUM_THREADS=1 python -m tools.results.cifar10 last at mat ...      # APGD on their last checkpoints
    OMP_NUM_THREADS=1 python -m tools.results.cifar10 confirm at mat ...   # AutoAttack and sanity checks
    OMP_NUM_THREADS=1 python -m tools.results.cifar10 transfer mat         # whose examples fool whom
    python -m tools.results.cifar10 collect              # docs/results/cifar10.json
    python -m tools.results.cifar10 draw                 # docs/results/pictures/, from it

The same command goes on where it stopped; one process a core, each with methods or seeds of its own. cifar10.npz holds
the 50,000 training images in their official order: x_train, y_train, or the first of them there and the rest in x_test,
y_test. Measure on a quiet machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from . import collect, figures, gate, parts, plan, runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", choices=["parts", "gate", "plan", "search", "seeds", "last", "confirm", "transfer", "collect", "draw"]
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--count", action="store_true", help="of plan: count passes and measure their rate first")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(runs.SEEDS), help="these of the fresh seeds")
    given = parser.parse_args()
    match given.what:
        case "parts":
            split(Path(given.names[0]))
        case "gate":
            gate.store([Path(name) for name in given.names])
        case "plan":
            if given.count:
                plan.count(runs.IMAGES / "gate.npz")
            plan.PAGE.write_text(plan.page(), encoding="utf-8")
        case "collect":
            collect.store()
        case "draw":
            figures.write()
        case stage:
            runs.make(stage, given.names, given.seeds)


def split(images_file: Path) -> None:
    """Write the images of the gate and of every seed."""
    with np.load(images_file, allow_pickle=False) as stored:
        images = np.concatenate([stored["x_train"], stored["x_test"]])[:50_000]
        labels = np.concatenate([stored["y_train"], stored["y_test"]])[:50_000].astype(np.int64)
    parts.write(images, labels, 0, "gate", runs.IMAGES / "gate.npz")
    small = parts.halved(images)
    for number in range(parts.SETS):
        purpose = "epochs" if number in runs.SEEDS else "settings"
        parts.write(images, labels, number, purpose, runs.IMAGES / f"{number}.npz")
        parts.write(small, labels, number, purpose, runs.IMAGES / "16x16" / f"{number}.npz")


if __name__ == "__main__":
    main()
