"""Hold the sentinel to ten honest models: none may fail.

    OMP_NUM_THREADS=1 python tools/sanity_honest.py --images 200

Ten small networks on digits: three widths, several seeds, trained on clean images, or by PGD in l_inf or l2. Each is
scored by PGD on cross entropy and on the margin, then inspected with Square and with examples of the model before it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from benchmark_models import Images, load
from torch import nn

import matx
from matx.craft import attackable
from matx.data import MemorySplit, channel_statistics
from matx.draws import SampleGenerator
from matx.evaluate import evaluate
from matx.evaluate.sanity import inspect, verdict
from matx.interfaces import Attack
from matx.learner import Normalised
from matx.threat import ThreatModel

RECIPES: Sequence[tuple[int, int, str]] = (
    (0, 8, ""), (1, 8, ""), (2, 16, ""), (3, 4, ""), (4, 8, "linf:0.1"), (5, 8, "linf:0.1"), (6, 16, "linf:0.1"),
    (7, 8, "l2:0.5"), (8, 16, "l2:0.5"), (9, 4, "linf:0.05"),
)  # fmt: skip
"""(seed, width, what is trained on; nothing: clean images)."""
THREAT = ThreatModel.parse("linf:0.1")


def made(name: str, **options: Any) -> Attack:
    component: Any = matx.attacks[name]
    attack: Attack = component(**options)
    return attack


def trained(images: Images, seed: int, width: int, key: str, epochs: int) -> nn.Module:
    torch.manual_seed(seed)
    tiny: Any = matx.architectures["tiny"]
    module: nn.Module = Normalised(tiny(width=width)((1, 8, 8), 10), *channel_statistics(images.train))
    module = module.to(memory_format=torch.channels_last)
    attack = made("pgd", threat=ThreatModel.parse(key), steps=4) if key else None
    optimizer = torch.optim.Adam(module.parameters(), 5e-3)
    for epoch in range(epochs):
        order = torch.randperm(len(images.train), generator=torch.Generator().manual_seed(1000 * seed + epoch))
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            seen, labels = images.train[rows], images.train_labels[rows]
            if attack is not None:
                with attackable(module) as model:
                    draws = SampleGenerator(epoch, rows)
                    seen = attack(matx.Goal(model=model, images=seen, labels=labels, generator=draws))
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(module.train()(seen), labels))
            optimizer.step()
    return module.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    images = load(None, 8000, options.images)
    split = MemorySplit.of(images.test, images.test_labels)
    suite = [
        made("pgd", threat=THREAT, steps=20, restarts=5, early_exit=True, objective=objective)
        for objective in ("cross_entropy", "margin")
    ]
    boxes = [made("square", threat=THREAT, queries=500)]
    seen: Counter[str] = Counter()
    before: dict[str, nn.Module] = {}
    for seed, width, key in RECIPES:
        module = trained(images, seed, width, key, options.epochs)
        scores = evaluate({"model": module}, split, suite, seed=seed)["model"]
        found = inspect(module, split, suite, scores.flags, seed=seed, black_boxes=boxes, others=before)
        name = f"seed {seed}, width {width}, trained on {key or 'clean images'}"
        print(
            f"{name}: clean {scores.clean.accuracy:.3f}, robust {scores.union.accuracy:.3f}: {verdict(found)}",
            flush=True,
        )
        for finding in found:
            if finding.status != "pass":
                print(f"  {finding.status}  {finding.check}: {finding.sentence}", flush=True)
        seen.update(finding.status for finding in found)
        before = {"before": module}
    print(f"{len(RECIPES)} models: {seen['pass']} pass, {seen['warn']} warn, {seen['fail']} fail")


if __name__ == "__main__":
    main()
