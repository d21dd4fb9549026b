"""What the parity tools share: a trained network with images that it classifies correctly, and searches on them."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import trained_models
from torch import Tensor, nn

import matx
from matx.interfaces import Attack
from matx.randomness import SampleGenerator
from matx.threat import ThreatModel

Search = Callable[[int], Tensor]
"""seed -> images."""
ORDER = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}
ORIGINAL = {"linf": "Linf", "l2": "L2", "l1": "L1"}


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
            return attack(matx.AttackInput(model=self.model, images=self.images, labels=self.labels, generator=draws))

        return search

    def distances(self, images: Tensor) -> Tensor:
        """(N,) float64: how far the misclassified images are from the clean ones; inf where nobody is fooled."""
        fooled = self.model(images).argmax(1) != self.labels
        boxed = ((images >= -1e-6) & (images <= 1 + 1e-6)).flatten(1).all(1)
        return self.threat.size(images - self.images).masked_fill(~(fooled & boxed), torch.inf)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """Our search beside those of others at the same budget."""

    title: str
    ours: Search
    references: dict[str, Search]
    random: bool = False
    """Whether chance has a part in it, so that means over seeds are compared instead of images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What one search with one seed came to."""

    distances: Tensor
    """(N,) float64, inf where nobody is fooled."""
    seconds: float

    def fooled(self, threat: ThreatModel) -> Tensor:
        """(N,) bool: fooled from inside the threat model."""
        return self.distances <= threat.radius * (1 + 1e-5)


def found(bench: Bench, search: Search, seed: int, name: str) -> Found:
    """One search, from the folder of --cache where it has been made before under this name."""
    text = f"{bench.options.data} {len(bench.labels)} {bench.threat.key} {name} {seed}"
    kept = None if bench.options.cache is None else bench.options.cache / (re.sub(r"[^\w.:,]+", "-", text) + ".npz")
    if kept is not None and kept.is_file():
        with np.load(kept) as stored:
            return Found(distances=torch.tensor(stored["distances"]), seconds=float(stored["seconds"]))
    begin = time.perf_counter()
    images = search(seed).detach().float()
    seconds = time.perf_counter() - begin
    fresh = Found(distances=bench.distances(images), seconds=seconds)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, distances=fresh.distances.numpy(), seconds=seconds)
    return fresh


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
            seen = attack(matx.AttackInput(model=model, images=images[rows], labels=labels[rows], generator=draws))
            model.requires_grad_(True)
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(seen), labels[rows]))
            optimizer.step()
    model.eval().requires_grad_(False)


def prepare(threat: ThreatModel, options: argparse.Namespace) -> Bench:
    """A small convolutional network, trained here: on 1,000 of the digits (the other 797 are attacked) or on --npz."""
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
    return _correct(bench)


def prepare_residual(threat: ThreatModel, options: argparse.Namespace) -> Bench:
    """The residual network with BatchNorm that trained_models.py trained on the union, and images of --npz."""
    data = trained_models.load(options.npz, 8000, 2000)
    model = trained_models.models(data, options.folder, 30)["union"].to(memory_format=torch.contiguous_format)
    images = data.test.contiguous()
    return _correct(Bench(model=model, images=images, labels=data.test_labels, options=options, threat=threat))


def _correct(bench: Bench) -> Bench:
    with torch.no_grad():
        right = (bench.model(bench.images).argmax(1) == bench.labels).nonzero()[: bench.options.images, 0]
    images, labels = bench.images[right], bench.labels[right]
    return Bench(model=bench.model, images=images, labels=labels, options=bench.options, threat=bench.threat)


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


def show(scores: list[float]) -> str:
    return f"{np.mean(scores):.4f} [{min(scores):.4f}, {max(scores):.4f}]"
