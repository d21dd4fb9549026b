"""Compare our attacks with reference implementations: same trained model, same images, same budgets, several seeds.

    pip install torchattacks foolbox adversarial-robustness-toolbox adv-lib     (and autoattack, from its repository)
    python tools/parity_attacks.py --only square,fab --images 200 --seeds 5
    python tools/parity_attacks.py --only autoattack --npz cifar10.npz --pool 2 --radii linf:4/255,l2:0.3,l1:4

It trains a small network by PGD on sklearn's digits, or on an .npz of uint8 images (x_train, y_train, x_test, y_test,
channels last), and prints a Markdown table: the robust accuracy as mean [lowest, highest] over the seeds (one seed for
searches without chance), the median distance, and whether ours is at least as strong: its mean is not above the
reference's by more than the reference's own range over the seeds, or 2 samples in 1,000 where nothing is drawn.
A reference that is not installed is left out and named at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import matx
import registry
from matx.draws import SampleGenerator
from matx.interfaces import Attack
from matx.threat import ThreatModel

Search = Callable[[int], Tensor]
"""seed -> images."""
ORDER = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}
ORIGINAL = {"linf": "Linf", "l2": "L2", "l1": "L1"}
CHANCE = ("square", "autoattack", "gaussian")
"""The attacks that draw; the others run on one seed."""


def made(name: str, **options: Any) -> Attack:
    component: Any = matx.attacks[name]
    attack: Attack = component(**options)
    return attack


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """A trained network and images that it classifies correctly."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    threat: ThreatModel
    options: argparse.Namespace

    def ours(self, name: str, **options: Any) -> Search:
        attack = made(name, threat=self.threat, **options)

        def search(seed: int) -> Tensor:
            draws = SampleGenerator(seed, torch.arange(len(self.images)))
            return attack(matx.Goal(model=self.model, images=self.images, labels=self.labels, generator=draws))

        return search

    def score(self, images: Tensor) -> tuple[float, float]:
        """Robust accuracy, and the median distance of what is misclassified."""
        fooled = self.model(images).argmax(1) != self.labels
        size = self.threat.size(images - self.images).masked_fill(~fooled, torch.inf)
        inside = size <= self.threat.radius * (1 + 1e-5)
        return float((~inside).float().mean()), float(size.median())


def train(bench: Bench, images: Tensor, labels: Tensor, epochs: int) -> None:
    """Adversarial training by PGD in half the threat model, which leaves an accuracy to attack."""
    model, optimizer = bench.model, torch.optim.Adam(bench.model.parameters(), 2e-3)
    half = ThreatModel(norm=bench.threat.norm, eps=bench.threat.radius / 2)
    attack = made("pgd", threat=half, steps=10 if half.norm == "l1" else 3, keep="last")
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
        for rows in torch.split(order, 128):
            model.requires_grad_(False)
            draws = SampleGenerator(epoch, rows)
            seen = attack(matx.Goal(model=model, images=images[rows], labels=labels[rows], generator=draws))
            model.requires_grad_(True)
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(seen), labels[rows]))
            optimizer.step()
    model.eval().requires_grad_(False)


def prepare(threat: ThreatModel, options: argparse.Namespace) -> Bench:
    torch.manual_seed(0)
    if options.npz is None:
        digits: Any = import_module("sklearn.datasets").load_digits()
        x = torch.tensor(digits.images / 16.0, dtype=torch.float32)[:, None]
        y = torch.tensor(digits.target)
        images, labels, test, truth = x[:1000], y[:1000], x[1000:], y[1000:]
    else:
        parts = np.load(options.npz)
        images, test = (torch.tensor(parts[n]).permute(0, 3, 1, 2).float() / 255 for n in ("x_train", "x_test"))
        labels, truth = (torch.tensor(parts[n]) for n in ("y_train", "y_test"))
    if options.pool > 1:
        images, test = F.avg_pool2d(images, options.pool), F.avg_pool2d(test, options.pool)
    test = test.contiguous()  # references call view (fra31/auto-attack, issue 9)
    side, classes = images.shape[2] // 4, int(labels.max()) + 1
    model = nn.Sequential(
        nn.Conv2d(images.shape[1], 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * side * side, 64), nn.ReLU(), nn.Linear(64, classes),
    )  # fmt: skip
    bench = Bench(model=model, images=test, labels=truth, options=options, threat=threat)
    train(bench, images, labels, options.epochs)
    right = (model(test).argmax(1) == truth).nonzero()[: options.images, 0]
    return Bench(model=model, images=test[right], labels=truth[right], options=options, threat=bench.threat)


def optional(name: str, missing: set[str]) -> ModuleType | None:
    sys.modules.setdefault("visdom", ModuleType("visdom"))  # adv-lib imports it for plots only
    try:
        return import_module(name)
    except ImportError:
        missing.add(name.split(".")[0])
        return None


def seeded(search: Callable[[], Any]) -> Search:
    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        np.random.seed(seed)
        return torch.as_tensor(search()).detach()

    return run


Row = tuple[str, Search, dict[str, Search]]


def fab(bench: Bench, missing: set[str]) -> Iterator[Row]:
    model, x, y, norm = bench.model, bench.images, bench.labels, bench.threat.norm
    steps = bench.options.steps
    original, adv_lib = optional("autoattack.fab_pt", missing), optional("adv_lib.attacks", missing)
    for targets in (0, min(9, int(y.max()))):
        references: dict[str, Search] = {}
        if original is not None:
            references["autoattack"] = seeded(partial(_original_fab, original, bench, targets))
        if adv_lib is not None and not targets:
            references["adv-lib"] = seeded(lambda: adv_lib.fab(model, x, y, norm=ORDER[norm], n_iter=steps))
        yield f"fab, {targets} targets", bench.ours("fab", steps=steps, targets=targets), references


def _original_fab(original: ModuleType, bench: Bench, targets: int) -> Tensor:
    """The closest over its single runs: its own `perturb` drops what lies outside of eps."""
    x, y, threat = bench.images, bench.labels, bench.threat
    attack = original.FABAttack_PT(
        bench.model, norm=ORIGINAL[threat.norm], n_iter=bench.options.steps, eps=threat.radius, device="cpu"
    )
    attack.targeted = targets > 0
    best, size = x.clone(), torch.full((len(x),), torch.inf, dtype=torch.float64)
    for rank in range(2, max(targets, 1) + 2):
        attack.target_class = rank
        found = attack.attack_single_run(x, y, is_targeted=targets > 0)
        distance = threat.size(found - x).masked_fill(bench.model(found).argmax(1) == y, torch.inf)
        closer = distance < size
        best[closer], size[closer] = found[closer], distance[closer]
    return best


def square(bench: Bench, missing: set[str]) -> Iterator[Row]:
    threat, queries = bench.threat, bench.options.queries
    references: dict[str, Search] = {}
    for module, name in (("autoattack.square", "SquareAttack"), ("torchattacks", "Square")):
        found = optional(module, missing)
        if found is None or (module == "torchattacks" and threat.norm == "l1"):
            continue

        references[module.partition(".")[0]] = partial(_square, getattr(found, name), bench)
    yield f"square, {queries} queries", bench.ours("square", queries=queries), references


def _square(make: Any, bench: Bench, seed: int) -> Tensor:
    norm, eps, queries = ORIGINAL[bench.threat.norm], bench.threat.radius, bench.options.queries
    attack = make(bench.model, norm=norm, eps=eps, n_queries=queries, resc_schedule=False, seed=seed)
    if hasattr(attack, "perturb"):
        attack.device = "cpu"
    run: Callable[[Tensor, Tensor], Tensor] = attack.perturb if hasattr(attack, "perturb") else attack
    return run(bench.images, bench.labels)


def cw(bench: Bench, missing: set[str]) -> Iterator[Row]:
    if bench.threat.norm != "l2":
        return
    model, x, y, steps = bench.model, bench.images, bench.labels, bench.options.steps
    references: dict[str, Search] = {}
    adv_lib, foolbox = optional("adv_lib.attacks", missing), optional("foolbox", missing)
    if adv_lib is not None:
        options = {"binary_search_steps": 9, "max_iterations": steps, "initial_const": 0.01}
        references["adv-lib"] = seeded(lambda: adv_lib.carlini_wagner_l2(model, x, y, **options))
    if foolbox is not None:
        attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=9, steps=steps, initial_const=0.01)
        references["foolbox"] = seeded(lambda: _foolbox(foolbox, attack, bench))
    yield f"cw, 9 x {steps} steps", bench.ours("cw", steps=steps, constant=0.01), references
    torchattacks = optional("torchattacks", missing)
    if torchattacks is not None:
        single = {"torchattacks": seeded(lambda: torchattacks.CW(model, c=1, steps=steps, lr=0.01)(x, y))}
        yield f"cw, c = 1, {steps} steps", bench.ours("cw", steps=steps, constant=1.0, searches=1), single


def _foolbox(foolbox: ModuleType, attack: Any, bench: Bench) -> Tensor:
    model = foolbox.PyTorchModel(bench.model, bounds=(0, 1), device="cpu")
    found: Tensor = attack(model, bench.images, bench.labels, epsilons=None)[0]
    return found


def deepfool(bench: Bench, missing: set[str]) -> Iterator[Row]:
    model, x, y, norm = bench.model, bench.images, bench.labels, bench.threat.norm
    references: dict[str, Search] = {}
    adv_lib, foolbox = optional("adv_lib.attacks", missing), optional("foolbox", missing)
    if foolbox is not None and norm != "l1":
        make = foolbox.attacks.L2DeepFoolAttack if norm == "l2" else foolbox.attacks.LinfDeepFoolAttack
        references["foolbox"] = seeded(lambda: _foolbox(foolbox, make(steps=50), bench))
    if adv_lib is not None and norm != "l1":
        references["adv-lib"] = seeded(lambda: adv_lib.df(model, x, y, steps=50, norm=ORDER[norm]))
    torchattacks, art = optional("torchattacks", missing), optional("art.attacks.evasion", missing)
    if torchattacks is not None and norm == "l2":
        references["torchattacks"] = seeded(lambda: torchattacks.DeepFool(model, steps=50)(x, y))
    if art is not None and norm == "l2":
        shape, classes = tuple(x.shape[1:]), int(model(x[:1]).shape[1])
        wrapped = import_module("art.estimators.classification").PyTorchClassifier(
            model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type="cpu"
        )
        attack = art.DeepFool(wrapped, max_iter=50, epsilon=0.02, batch_size=len(x), verbose=False)
        references["art"] = seeded(lambda: attack.generate(x.numpy()))
    yield "deepfool, 50 steps", bench.ours("deepfool"), references


def autoattack(bench: Bench, missing: set[str]) -> Iterator[Row]:
    x, y, threat, queries = bench.images, bench.labels, bench.threat, bench.options.queries
    references: dict[str, Search] = {}
    original = optional("autoattack", missing)
    if original is not None:

        def search(seed: int) -> Tensor:
            whole = original.AutoAttack(
                bench.model, norm=ORIGINAL[threat.norm], eps=threat.radius, seed=seed, device="cpu", verbose=False
            )
            whole.square.n_queries = queries
            found: Tensor = whole.run_standard_evaluation(x, y, bs=len(x))
            return found

        references["autoattack"] = search
    yield f"autoattack, {queries} queries", bench.ours("autoattack", queries=queries), references


def gaussian(bench: Bench, missing: set[str]) -> Iterator[Row]:
    yield "gaussian, 1 draw", bench.ours("gaussian"), {}


ROWS = {
    name: row
    for name, row in globals().items()
    if name in ("fab", "square", "cw", "deepfool", "autoattack", "gaussian")
}


def measure(bench: Bench, search: Search, seeds: int) -> tuple[list[float], float, float]:
    """Robust accuracies over the seeds, the first seed's median distance, mean seconds."""
    start = time.perf_counter()
    scores = [bench.score(search(seed)) for seed in range(seeds)]
    return [score for score, _ in scores], scores[0][1], (time.perf_counter() - start) / seeds


def show(scores: list[float]) -> str:
    return f"{np.mean(scores):.4f} [{min(scores):.4f}, {max(scores):.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--radii", default="linf:0.08,l2:0.5,l1:1.5")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--npz", type=Path, default=None)
    parser.add_argument("--pool", type=int, default=1)
    options = parser.parse_args()
    assert "attacks" in registry.__all__
    missing: set[str] = set()
    print("| norm | attack | ours | reference | its accuracy | distances, ours and its | seconds | as strong |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for key in options.radii.split(","):
        bench = prepare(ThreatModel.parse(key), options)
        for name in options.only.split(","):
            for title, ours, references in ROWS[name](bench, missing):
                seeds = options.seeds if name in CHANCE else 1
                mine, near, spent = measure(bench, ours, seeds)
                for other, search in references.items() or [("none", ours)]:
                    its, far, took = measure(bench, search, seeds) if references else (mine, near, spent)
                    strong = np.mean(mine) <= np.mean(its) + max(max(its) - min(its), 0.002)
                    cells = (bench.threat.key, title, show(mine), other, show(its), f"{near:.4f}, {far:.4f}")
                    row = (*cells, f"{spent:.1f}, {took:.1f}", "yes" if strong else "NO")
                    print(f"| {' | '.join(row)} |", flush=True)
    if missing:
        print(f"\nnot installed: {', '.join(sorted(missing))}")


if __name__ == "__main__":
    main()
