"""Write tests/golden/attacks.json: whom reference implementations fool on a network and images made by a formula.

    pip install -e '.[parity]'                          (and adv-lib and autoattack as docs/parity.md says)
    python tools/reference_flags.py

tests/test_references.py holds our attacks to these flags, without the references. The long comparison on trained
networks is parity_first_order.py's and parity_attacks.py's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matx.threat import ThreatModel

FILE = Path(__file__).parent.parent / "tests" / "golden" / "attacks.json"
SEEDS = 5
ORDER = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}
ORIGINAL = {"linf": "Linf", "l2": "L2", "l1": "L1"}
RADII = {"linf": 0.03, "l2": 0.2, "l1": 0.8}
VERSIONS = {"autoattack": "fra31/auto-attack@a39220048b3c9f2cca9a4d3a54604793c68eca7e"}
Search = Callable[[int], Any]


def formula(*shape: int, seed: int) -> Tensor:
    """Numbers in [0,1) that need no generator: the fractions of 43758.5453 sin(12.9898 k + seed), in float64."""
    steps = torch.arange(int(np.prod(shape)), dtype=torch.float64)
    return (torch.sin(12.9898 * steps + seed) * 43758.5453).frac().abs().reshape(shape)


def network() -> nn.Module:
    """A perceptron with curved boundaries: (N, 3, 6, 6) -> (N, 8)."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 48), nn.SiLU(), nn.Linear(48, 8))
    for seed, part in enumerate((model[1], model[3])):
        for name, parameter in part.named_parameters():
            scale = {"weight": 4.0 / parameter.shape[-1] ** 0.5, "bias": 0.5}[name]
            with torch.no_grad():
                parameter.copy_(scale * (2 * formula(*parameter.shape, seed=2 * seed + (name == "bias")) - 1))
    return model.eval().requires_grad_(False)


def samples(model: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    """(count, 3, 6, 6) images and the network's own answers: everybody is right before an attack."""
    images = formula(count, 3, 6, 6, seed=9).float()
    images = images.where(formula(count, 3, 6, 6, seed=10).float() > 0.1, images.round())
    return images, model(images).argmax(1)


def fooled(model: nn.Module, found: Tensor, images: Tensor, labels: Tensor, threat: ThreatModel) -> Tensor:
    """(N,) bool: misclassified, from inside ball and box."""
    inside = threat.size(found - images) <= threat.radius * (1 + 1e-4)
    boxed = ((found >= -1e-6) & (found <= 1 + 1e-6)).flatten(1).all(1)
    wrong: Tensor = model(found).argmax(1) != labels
    return wrong & inside & boxed


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """What a reference is run on."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    threat: ThreatModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """Our attack with its options, and the reference's search at the same budget."""

    attack: str
    norm: str
    reference: str
    search: Callable[[World], Search]
    options: dict[str, Any] = field(default_factory=dict)
    random: bool = False


def library(name: str) -> ModuleType:
    sys.modules.setdefault("visdom", ModuleType("visdom"))  # adv-lib imports it for plots only
    return import_module(name)


def torchattacks(name: str, **options: Any) -> Callable[[World], Search]:
    def make(world: World) -> Search:
        radius = {} if name in ("CW", "DeepFool") else {"eps": world.threat.radius}
        attack = getattr(library("torchattacks"), name)(world.model, **radius, **options)
        return lambda seed: attack(world.images, world.labels)

    return make


def foolbox(name: str, *, free: bool = False, **options: Any) -> Callable[[World], Search]:
    """`free`: a search for the smallest perturbation, which knows no radius."""

    def make(world: World) -> Search:
        fools = library("foolbox")
        model = fools.PyTorchModel(world.model, bounds=(0, 1), device="cpu")
        attack, eps = getattr(fools.attacks, name)(**options), None if free else world.threat.radius
        return lambda seed: attack(model, world.images, world.labels, epsilons=eps)[0 if free else 1]

    return make


def adv_lib(name: str, **options: Any) -> Callable[[World], Search]:
    return lambda world: (
        lambda seed: getattr(library("adv_lib.attacks"), name)(world.model, world.images, world.labels, **options)
    )


def original(module: str, name: str, **options: Any) -> Callable[[World], Search]:
    """A part of the original AutoAttack."""

    def make(world: World) -> Search:
        def search(seed: int) -> Any:
            attack = getattr(library(f"autoattack.{module}"), name)(
                world.model,
                norm=ORIGINAL[world.threat.norm],
                eps=world.threat.radius,
                seed=seed,
                device="cpu",
                **options,
            )
            return attack.perturb(world.images, world.labels)

        return search

    return make


def rows() -> Iterator[Row]:
    own: dict[str, Any]
    linf = RADII["linf"]
    step, last = {n: 2.5 * eps / 20 for n, eps in RADII.items()}, {"keep": "last", "random_start": False}
    yield Row(attack="fgsm", norm="linf", reference="torchattacks", search=torchattacks("FGSM"))
    yield Row(attack="fgsm", norm="l2", reference="foolbox", search=foolbox("L2FastGradientAttack"))
    for norm, name in (("linf", "PGD"), ("l2", "PGDL2")):
        options: dict[str, Any] = {"steps": 20, "step_size": step[norm]}
        for start in (False, True):
            search = torchattacks(name, alpha=step[norm], steps=20, random_start=start)
            own = options | ({"early_exit": True} if start else last)
            yield Row(attack="pgd", norm=norm, reference="torchattacks", search=search, options=own, random=start)
    own = {"steps": 10, "step_size": linf / 10, "keep": "last"}
    mim = torchattacks("MIFGSM", alpha=linf / 10, steps=10, decay=1.0)
    yield Row(attack="mim", norm="linf", reference="torchattacks", search=mim, options=own)
    sparse = foolbox("SparseL1DescentAttack", steps=20, abs_stepsize=RADII["l1"] / 4, quantile=0.95, random_start=True)
    own = {"steps": 20, "early_exit": True}
    yield Row(attack="slide", norm="l1", reference="foolbox", search=sparse, options=own, random=True)
    for norm in RADII:
        wide = {"use_largereps": True} if norm == "l1" else {}
        own = {"steps": 15, "early_exit": True, "epsilon_schedule": norm == "l1"}
        for loss, objective in (("ce", "cross_entropy"), ("dlr", "dlr")):
            search = original("autopgd_base", "APGDAttack", n_iter=15, loss=loss, **wide)
            yield Row(
                attack="apgd", norm=norm, reference="autoattack", search=search,
                options={**own, "objective": objective}, random=True,
            )  # fmt: skip
        search = original("autopgd_base", "APGDAttack_targeted", n_iter=15, n_target_classes=3, **wide)
        own |= {"objective": "targeted_dlr", "targets": 3}
        yield Row(attack="apgd", norm=norm, reference="autoattack", search=search, options=own, random=True)
        for targets in (0, 3):
            more = {"targeted": True, "n_target_classes": 3} if targets else {}
            search = original("fab_pt", "FABAttack_PT", n_iter=20, **more)
            own = {"steps": 20, "targets": targets}
            yield Row(attack="fab", norm=norm, reference="autoattack", search=search, options=own)
        search = original("square", "SquareAttack", n_queries=60, resc_schedule=False)
        yield Row(
            attack="square", norm=norm, reference="autoattack", search=search, options={"queries": 60}, random=True
        )
    own = {"steps": 50, "searches": 5, "constant": 0.01}
    theirs = {"binary_search_steps": 5, "max_iterations": 50, "initial_const": 0.01}
    yield Row(attack="cw", norm="l2", reference="adv-lib", search=adv_lib("carlini_wagner_l2", **theirs), options=own)
    one = torchattacks("CW", c=1, steps=50, lr=0.01)
    own = {"steps": 50, "searches": 1, "constant": 1.0}
    yield Row(attack="cw", norm="l2", reference="torchattacks", search=one, options=own)
    for norm, name in (("linf", "LinfDeepFoolAttack"), ("l2", "L2DeepFoolAttack")):
        yield Row(attack="deepfool", norm=norm, reference="foolbox", search=foolbox(name, free=True, steps=50))


def measured(row: Row) -> dict[str, Any]:
    """What the file holds of a row: the flags of each seed, a hexadecimal digit for four samples."""
    threat, model = ThreatModel.parse(f"{row.norm}:{RADII[row.norm]}"), network()
    images, labels = samples(model, 120 if row.random else 500)
    search = row.search(World(model=model, images=images, labels=labels, threat=threat))
    flags = []
    for seed in range(SEEDS if row.random else 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        found = torch.as_tensor(search(seed)).detach().float()
        flags.append(np.packbits(fooled(model, found, images, labels, threat).numpy()).tobytes().hex())
    release = VERSIONS.get(row.reference) or version(row.reference)
    return {
        "attack": row.attack, "threat": threat.key, "options": row.options, "reference": row.reference,
        "version": release, "samples": len(images), "random": row.random, "fooled": flags,
    }  # fmt: skip


def main() -> None:
    found = []
    for row in rows():
        found.append(measured(row))
        shares = [bin(int(flags, 16)).count("1") / found[-1]["samples"] for flags in found[-1]["fooled"]]
        print(row.attack, row.norm, row.options, row.reference, [f"{share:.3f}" for share in shares], flush=True)
    FILE.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in found) + "\n]\n")


if __name__ == "__main__":
    main()
