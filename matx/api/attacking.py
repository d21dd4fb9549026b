"""Adversarial examples of any torch module, in one call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from matx.craft import attackable, forked
from matx.errors import DataError, OptionError, did_you_mean
from matx.interfaces import Attack, AttackInput, run_attack
from matx.options import parameters
from matx.randomness import SampleGenerator, hashed, seed_for
from matx.registration import REGISTRIES
from matx.threat import ThreatModel

__all__ = ["attack", "attacked_in_parts"]


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    name: str = "pgd",
    threat: ThreatModel | str = "linf:8/255",
    *,
    seed: int = 0,
    batch_size: int | None = None,
    **options: Any,
) -> Tensor:
    """(N, C, H, W) adversarial examples of `model` on the images, inside the threat model.

    The model takes images in [0,1], normalises them itself, and gives (N, classes) logits; it is attacked in eval mode
    and left as it was. `name` and `options` are a registered attack and its options (`matx list attacks`,
    `matx show attacks.pgd`). Draws depend on `seed` and on each image's place alone, so that neither `batch_size` nor
    other images change them. Examples stay on the images' device.

    Raises DataError for images outside [0,1] or labels that do not fit, OptionError for an unknown attack or option,
    ModelError for an attack that gives no images.

    >>> import torch, matx
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
    >>> images, labels = torch.rand(5, 3, 8, 8), torch.arange(5)
    >>> adversarial = matx.attack(model, images, labels, "pgd", "linf:8/255", steps=20)
    >>> bool((adversarial - images).abs().max() <= 8 / 255 + 1e-6)
    True
    """
    _check(images, labels)
    parsed = ThreatModel.parse(threat) if isinstance(threat, str) else threat
    component = REGISTRIES["attacks"][name]
    known = parameters(component)
    for option in options:
        if option not in known:
            raise OptionError(
                f"attacks.{name}: got an option {option!r}, allowed: {', '.join(known)}{did_you_mean(option, known)}"
            )
    made: Attack = component(threat=parsed, **options)
    return attacked_in_parts(model, images, labels, made, seed=seed, batch_size=batch_size)


def attacked_in_parts(
    model: nn.Module, images: Tensor, labels: Tensor, made: Attack, *, seed: int, batch_size: int | None
) -> Tensor:
    """The examples of an attack, so many images at a time."""
    size = len(images) if batch_size is None else batch_size
    if size < 1:
        raise OptionError("batch_size", got=f"{size}", allowed="1 or more")
    labels = labels.to(device=images.device, dtype=torch.int64)
    key = hashed(seed, "attack", type(made).__name__)
    found = []
    with attackable(model) as frozen, forked(seed_for(seed, "attack"), images.device):
        for start in range(0, len(images), size):
            rows = torch.arange(start, min(start + size, len(images)))
            given = AttackInput(
                model=frozen,
                images=images[start : start + size].detach().to(torch.float32),
                labels=labels[start : start + size],
                generator=SampleGenerator(key, rows),
                progress=1.0,
            )
            found.append(run_attack(made, given))
    return torch.cat(found)


def _check(images: Tensor, labels: Tensor) -> None:
    """(N, C, H, W) floats in [0,1] and N labels of whole numbers."""
    if images.ndim != 4 or not images.is_floating_point() or len(images) == 0:
        raise DataError(
            f"images: got {images.dtype} of shape {tuple(images.shape)}, allowed: (N, C, H, W) floats in [0,1]"
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):
        raise DataError(f"images: got values in [{low:g}, {high:g}], allowed: [0, 1]; the model normalises them itself")
    if labels.shape != (len(images),) or labels.is_floating_point():
        raise DataError(
            f"labels: got {labels.dtype} of shape {tuple(labels.shape)}, allowed: ({len(images)},) whole numbers"
        )
