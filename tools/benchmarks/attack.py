"""`attack`: what the engine adds to bare passes, unions of norms, and the share of a per-layer roofline."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measuring import Call, Row, Settings, Tables, ratios, rounds
from benchmarks.roofline import roofline
from benchmarks.worlds import CIFAR, DIGITS, first_batch, made, one_step, pgd, training
from matx.craft import Passes
from matx.data import Batch
from matx.engine import Training
from matx.engine.crafting import craft_all
from matx.exchange import CLEAN

STEPS = 10


def measure(settings: Settings) -> Tables:
    return {"overhead": _overheads(settings), "unions": _unions(settings), "roofline": roofline(settings)}


def attacked(live: Training, name: str, images: Tensor, labels: Tensor) -> None:
    """One bare forward and backward to the images, on what the engine's attacks search on."""
    learner = live.learners[name]
    model: Callable[[Tensor], Tensor] = live.copies.get(name, learner.forward)
    point = images.clone().requires_grad_()
    torch.autograd.grad(F.cross_entropy(model(point), labels, reduction="sum"), point)


def bare(live: Training, batch: Batch, steps: int) -> None:
    """The passes of a step and nothing else: attacks' on the copies, teachers', and training's."""
    for name, learner in live.learners.items():
        if name not in live.copies:
            learner.module.eval().requires_grad_(False)
        for _ in range(steps):
            attacked(live, name, batch.images, batch.labels)
        learner.module.train().requires_grad_(True)
    for name, _ in live.needs.teach:
        with torch.no_grad():
            live.learners[name].forward(batch.images)
    for name, sources in live.needs.train.items():
        learner, count = live.learners[name], len([source for source in sources if source != CLEAN])
        logits = learner.forward(batch.images.repeat(count, 1, 1, 1))
        loss = F.cross_entropy(logits, batch.labels.repeat(count))
        torch.autograd.backward(loss, inputs=[p for p in learner.module.parameters() if p.requires_grad])
        learner.module.zero_grad()


def _overheads(settings: Settings) -> list[Row]:
    """A whole step over its bare passes: l_inf, l2 and l1 on noise of CIFAR's shape, l_inf on digits."""
    size = 8 if settings.brief else 128
    cases: list[tuple[str, Training]] = [
        (
            f"{network}, {norm}",
            training(network, precision="auto", batch_size=size, attacks=[pgd(CIFAR[norm])], device=settings.device),
        )
        for network in ("small_resnet", "tiny")[: 1 if settings.brief else 2]
        for norm in CIFAR
    ]
    digits = made("datasets", "digits")
    cases += [
        (
            f"tiny on digits, {norm}",
            training(
                "tiny", batch_size=min(size, 100), attacks=[pgd(DIGITS[norm])], dataset=digits, device=settings.device
            ),
        )
        for norm in DIGITS
    ]
    rows = []
    for what, live in cases:
        given = first_batch(live)
        calls: dict[str, Call] = {"step": partial(one_step, live, given), "bare": partial(bare, live, given, STEPS)}
        spent = rounds(settings, calls)
        head = {"what": what, "batch": len(given.labels), "precision": live.precision}
        rows.append({**head, **ratios(spent["step"], spent["bare"]), "ms a step": 1e3 * median(spent["step"])})
    return rows


def _unions(settings: Settings) -> list[Row]:
    """Crafting for three norms over its bare passes, and the images that went through the network."""
    size = 8 if settings.brief else 128
    attacks = [pgd(threat) for threat in CIFAR.values()]
    kinds = {"msd": made("unions", "msd", steps=STEPS), "worst_case": made("unions", "worst_case")}
    rows = []
    for name, union in kinds.items():
        live = training(
            "small_resnet",
            precision="auto",
            peers=1,
            batch_size=size,
            attacks=attacks,
            union=union,
            device=settings.device,
        )
        given = first_batch(live)
        live.passes = Passes()
        craft_all(live, given)
        counted = {key: value / size for key, value in vars(live.passes).items() if key != "backward_weights"}
        calls: dict[str, Call] = {
            "crafting": partial(craft_all, live, given),
            "bare": partial(_bare_union, live, given, name),
        }
        spent = rounds(settings, calls)
        least = (STEPS * 4, STEPS) if name == "msd" else (STEPS * 3 + 3, STEPS * 3)
        head = {"union": name, **counted, "least forward": least[0], "least backward": least[1]}
        rows.append({**head, **ratios(spent["crafting"], spent["bare"])})
    return rows


def _bare_union(live: Training, batch: Batch, union: str) -> None:
    """MSD: a forward, a backward, and a forward of three candidates a step; worst_case: three attacks, a forward."""
    (name,) = live.learners
    model: Any = live.copies.get(name, live.learners[name].forward)
    stacked = batch.images.repeat(3, 1, 1, 1)
    for _ in range(STEPS if union == "msd" else 3 * STEPS):
        attacked(live, name, batch.images, batch.labels)
        if union == "msd":
            with torch.no_grad():
                model(stacked)
    if union != "msd":
        with torch.no_grad():
            live.learners[name].forward(stacked)
