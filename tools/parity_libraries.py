"""Searches of the reference libraries on the images of a bench; {} where one is not installed or has no such attack."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import parity_original
import torch
from parity_searches import Bench, Search, optional, seeded
from torch import Tensor, nn

from matx.randomness import SampleGenerator


@dataclass(frozen=True, kw_only=True, eq=False)
class Others:
    """The reference libraries that are installed."""

    torchattacks: ModuleType | None
    foolbox: ModuleType | None
    art: ModuleType | None
    adv_lib: ModuleType | None
    original: ModuleType | None

    @classmethod
    def installed(cls, missing: set[str]) -> Others:
        return cls(
            torchattacks=optional("torchattacks", missing),
            foolbox=optional("foolbox", missing),
            art=optional("art.attacks.evasion", missing),
            adv_lib=optional("adv_lib.attacks", missing),
            original=optional("autoattack", missing),
        )


def by_torchattacks(others: Others, bench: Bench, name: str, **options: Any) -> dict[str, Search]:
    if others.torchattacks is None or not hasattr(others.torchattacks, name):
        return {}
    attack = getattr(others.torchattacks, name)(bench.model, **options)
    return {"torchattacks": seeded(lambda: attack(bench.images, bench.labels))}


def by_foolbox(others: Others, bench: Bench, name: str, **options: Any) -> dict[str, Search]:
    if others.foolbox is None or not hasattr(others.foolbox.attacks, name):
        return {}
    attack = getattr(others.foolbox.attacks, name)(**options)
    model = others.foolbox.PyTorchModel(bench.model, bounds=(0, 1), device="cpu")
    eps = bench.threat.radius
    return {"foolbox": seeded(lambda: attack(model, bench.images, bench.labels, epsilons=eps)[1])}


def by_art(others: Others, bench: Bench, name: str, **options: Any) -> dict[str, Search]:
    if others.art is None:
        return {}
    estimators = import_module("art.estimators.classification")
    shape, classes = tuple(bench.images.shape[1:]), int(bench.model(bench.images[:1]).shape[1])
    wrapped = estimators.PyTorchClassifier(
        bench.model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = getattr(others.art, name)(wrapped, batch_size=len(bench.images), **options)
    return {"art": seeded(lambda: attack.generate(bench.images.numpy(), y=bench.labels.numpy()))}


def by_adv_lib(others: Others, bench: Bench, name: str, **options: Any) -> dict[str, Search]:
    if others.adv_lib is None or not hasattr(others.adv_lib, name):
        return {}
    attack = getattr(others.adv_lib, name)
    return {"adv-lib": seeded(lambda: attack(bench.model, bench.images, bench.labels, **options))}


def by_original(others: Others, bench: Bench, loss: str, start: str, **options: Any) -> dict[str, Search]:
    """The original's APGD; its start is 'random', 'clean', or 'ours'."""
    if others.original is None:
        return {}

    def search(seed: int) -> Tensor:
        attack = parity_original.apgd(bench.model, bench.threat, bench.options.steps, loss, seed=seed, **options)
        if start == "clean":
            parity_original.start_at_clean(attack)
        if start == "ours":
            names = parity_original.of_target if loss == "targeted" else parity_original.of_restart
            draws = SampleGenerator(seed, torch.arange(len(bench.images)))
            parity_original.start_like_ours(attack, bench.images, draws, names)
        found: Tensor = attack.perturb(bench.images, bench.labels)
        return found

    return {"autoattack": search}


def by_seeded_torchattacks(others: Others, bench: Bench, name: str, **options: Any) -> dict[str, Search]:
    """torchattacks' APGD, which has no l1, seeds itself with an option."""
    if others.torchattacks is None or bench.threat.norm == "l1":
        return {}
    make = getattr(others.torchattacks, name)

    def search(seed: int) -> Tensor:
        found: Tensor = make(bench.model, seed=seed, **options)(bench.images, bench.labels)
        return found

    return {"torchattacks": search}
