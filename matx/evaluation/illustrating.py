"""What a report draws beside its scores: a few images, what attacks make of them, and what every model answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor

from matx.craft import attackable
from matx.data import Batch, batches
from matx.evaluation.target import Target, WeightSet
from matx.interfaces import Attack, Model
from matx.measure import EvaluationSettings, aimed, by_threat, crafted_on, plain_fp32
from matx.randomness import seed_for
from matx.results import Illustrations
from matx.runtime.progress import Bar, Display
from matx.threat import ThreatModel

__all__ = ["illustrate"]

_ASKED = 100
"""So many images are attacked once more."""
_SHOWN = 5
_SLICED = 3
_SIDE = 21
"""Points of a slice in each direction."""
_EXTENT = 2.0
_FACTORS = (0.5, 1.0, 1.5, 2.0)
"""Radii, as shares of the threat model's own, at which the first attack is run."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """The models, the images, and the attacks."""

    models: Mapping[str, Model]
    batch: Batch
    attacks: Mapping[ThreatModel, Attack]
    """The first of each reported threat model."""
    seed: int
    size: int


def illustrate(target: Target, settings: EvaluationSettings, display: Display | None = None) -> Illustrations | None:
    """Of the best checkpoint's raw weights on the first test images; None where there is nothing to attack with."""
    attacks = {threat: found[0] for threat, found in by_threat(settings.attacks).items()}
    which = next(iter(target.states))
    asked_of = min(_ASKED, settings.count(target.data.test))
    if not attacks or not asked_of:
        return None
    (batch,) = batches(target.data.test, torch.arange(asked_of), asked_of, device=target.device)
    with ExitStack() as stack, plain_fp32(target.device):
        modules = target.models(which)
        models = {name: stack.enter_context(attackable(module, mode="eval")) for name, module in modules.items()}
        asked = _Asked(models=models, batch=batch, attacks=attacks, seed=settings.draws, size=settings.batch_size)
        rated = [name for name in models if name in target.scored] or list(models)
        with (display or Display()).bar("illustrations, searches", len(attacks) * (len(models) + len(rated))) as draw:
            return _illustrated(asked, which, target.data.class_names, rated, _counted(draw))


def _counted(draw: Bar) -> Callable[[str], None]:
    """Called before each search of a model, it shows how many are done."""
    done = count()

    def said(what: str) -> None:
        draw(next(done), what)

    return said


def _illustrated(
    asked: _Asked, which: WeightSet, classes: Sequence[str], rated: Sequence[str], said: Callable[[str], None]
) -> Illustrations:
    batch, models = asked.batch, asked.models
    crafted = {}
    for name, model in models.items():
        for threat, attack in asked.attacks.items():
            said(f"{name} {threat.key}")
            crafted[name, threat] = crafted_on(name, model, attack, batch, asked.seed)
    clean = {name: _answers(model, batch.images, asked.size) for name, model in models.items()}
    found = {
        (name, key): _answers(model, images, asked.size)
        for name, model in models.items()
        for key, images in crafted.items()
    }
    right: list[list[list[int]]] = []
    for name in rated:
        right.append([])
        for threat in asked.attacks:
            said(f"{name} {threat.norm}, radii")
            right[-1].append(_right(asked, name, threat, clean[name][0], found[name, (name, threat)][0]))
    first, pairs = next(iter(asked.attacks)), list(crafted)
    shape = (len(models), len(models), len(asked.attacks))
    return Illustrations(
        checkpoint=which.checkpoint,
        models=list(models),
        threats=[threat.key for threat in asked.attacks],
        classes=list(classes),
        rated=list(rated),
        factors=list(_FACTORS),
        extent=_EXTENT,
        labels=batch.labels.cpu().numpy(),
        images=_bytes(batch.images[:_SHOWN]),
        examples=np.stack([_bytes(crafted[pair][:_SHOWN]) for pair in pairs]).reshape(
            *shape[1:], *_bytes(batch.images[:_SHOWN]).shape
        ),
        clean=np.stack([clean[name][0] for name in models]),
        answers=np.stack([found[name, pair][0] for name in models for pair in pairs]).reshape(*shape, -1),
        clean_confidence=np.stack([clean[name][1][:_SHOWN] for name in models]),
        confidence=np.stack([found[name, pair][1][:_SHOWN] for name in models for pair in pairs]).reshape(*shape, -1),
        slices=np.stack([_slices(asked, model, crafted[name, first]) for name, model in models.items()]),
        right=np.array(right),
    )


@torch.no_grad()
def _answers(model: Model, images: Tensor, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) classes, -1 where logits are not finite, and (N,) the softmax of the class answered, 0 there."""
    logits = torch.cat([model(part) for part in torch.split(images, size)])
    known = logits.isfinite().all(1)
    share, answer = logits.softmax(1).max(1)
    return (
        torch.where(known, answer, -1).cpu().numpy(),
        torch.where(known, share, torch.zeros_like(share)).float().cpu().numpy(),
    )


def _bytes(images: Tensor) -> np.ndarray:
    found: np.ndarray = (images * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return found


def _slices(asked: _Asked, model: Model, examples: Tensor) -> np.ndarray:
    """(S, side, side) classes on the plane through each of the first images; what leaves [0,1] is clipped."""
    steps = torch.linspace(-_EXTENT, _EXTENT, _SIDE, device=examples.device)
    found = []
    for row in range(min(_SLICED, len(examples))):
        image = asked.batch.images[row]
        across = (examples[row] - image).flatten()
        draws = torch.Generator().manual_seed(seed_for(asked.seed, "slice", int(asked.batch.indices[row])))
        up = torch.randn(across.shape, generator=draws).to(across.device)
        length = across.norm().clamp_min(1e-12)
        up -= across * (up @ across) / length**2
        up *= length / up.norm()
        plane = steps.flip(0)[:, None, None] * up + steps[None, :, None] * across
        points = (image.flatten() + plane).clamp(0, 1).reshape(_SIDE * _SIDE, *image.shape)
        found.append(_answers(model, points, asked.size)[0].reshape(_SIDE, _SIDE))
    return np.stack(found)


def _right(asked: _Asked, name: str, threat: ThreatModel, clean: np.ndarray, own: np.ndarray) -> list[int]:
    """At each radius, how many images are right there, at every smaller one, and without an attack.

    `own`: the answers to the examples of the threat model's own radius, which are there already.
    """
    labels, counts = asked.batch.labels.cpu().numpy(), []
    left = clean == labels
    for factor in _FACTORS:
        answers = own
        if factor != 1.0:
            eps = threat.radius * factor if threat.norm != "linf" else min(1.0, threat.radius * factor)
            (attack,) = aimed([asked.attacks[threat]], [ThreatModel(norm=threat.norm, eps=eps)])
            images = crafted_on(name, asked.models[name], attack, asked.batch, asked.seed)
            answers = _answers(asked.models[name], images, asked.size)[0]
        left = left & (answers == labels)
        counts.append(int(left.sum()))
    return counts
