"""The study on CIFAR-10.

python -m tools.cifar10 parts cifar10.npz      the images of every set, in cifar10_parts/
python -m tools.cifar10 gate RUN RUN ...       keep what runs of at.gin on cifar10_parts/gate.npz showed
python -m tools.cifar10 plan [--count]         docs/results/cifar10_plan.md; --count: measure first, on a quiet machine

cifar10.npz holds the 50,000 training images in their official order: x_train, y_train, or the first of them there and
the rest in x_test, y_test.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from . import gate, parts, plan

FOLDER = Path("cifar10_parts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["parts", "gate", "plan"])
    parser.add_argument("paths", type=Path, nargs="*")
    parser.add_argument("--count", action="store_true")
    given = parser.parse_args()
    if given.what == "plan":
        if given.count:
            plan.count(FOLDER / "gate.npz")
        plan.PAGE.write_text(plan.page(), encoding="utf-8")
        return
    if given.what == "gate":
        gate.store(given.paths)
        return
    with np.load(given.paths[0], allow_pickle=False) as stored:
        images = np.concatenate([stored["x_train"], stored["x_test"]])[:50_000]
        labels = np.concatenate([stored["y_train"], stored["y_test"]])[:50_000].astype(np.int64)
    parts.write(images, labels, 0, "gate", FOLDER / "gate.npz")
    for number in range(parts.SETS):
        parts.write(images, labels, number, "settings" if number < 10 else "epochs", FOLDER / f"{number}.npz")


if __name__ == "__main__":
    main()
