"""Running an attack: what it returns is not trusted, whoever calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from matx.errors import ModelError
from matx.interfaces.inputs import copied, default_type_kept, refuse_writes

if TYPE_CHECKING:
    from matx.interfaces import Attack, AttackInput

__all__ = ["checked_examples", "found_anywhere", "run_attack"]


def run_attack(attack: Attack, given: AttackInput) -> Tensor:
    """(N, C, H, W): the attack's examples, checked. A union runs its attacks by this function, never directly.

    The attack sees copies of the input; ModelError where it wrote into one.
    """
    return _inside(attack, found_anywhere(attack, given), given)


def found_anywhere(attack: Attack, given: AttackInput) -> Tensor:
    """(N, C, H, W): the attack's examples as `run_attack` checks them, but inside the threat model or not."""
    seen = copied(given)
    with torch.enable_grad(), default_type_kept(attack):
        images = attack(seen)
    refuse_writes(attack, seen, given)
    return _usable(attack, images, given)


def checked_examples(attack: Attack, images: Tensor, given: AttackInput) -> Tensor:
    """What an attack returned, detached and inside its threat model; ModelError where shape, dtype or values are wrong.

    `maximise`: projected where outside. `minimum_norm`: the clean image where outside.
    """
    return _inside(attack, _usable(attack, images, given), given)


def _usable(attack: Attack, images: object, given: AttackInput) -> Tensor:
    if not isinstance(images, Tensor):
        raise ModelError(f"{attack!r}: got {type(images).__name__}, allowed: a tensor of images")
    images = images.detach().clone()  # an attack that keeps its result cannot change it later
    if images.shape != given.images.shape or images.dtype != given.images.dtype:
        raise ModelError(
            f"{attack!r}: got {images.dtype} images of shape {tuple(images.shape)}, "
            f"allowed: {given.images.dtype} of shape {tuple(given.images.shape)}"
        )
    finite = (images * 0.0).flatten(1).sum(1) == 0.0  # 0 times what is not finite is nan; several times faster
    # This test and that of _inside read one number each from the device: no result is used before they pass.
    if not finite.all():
        raise ModelError(f"{attack!r}: {int((~finite).sum())} of {len(images)} images are not finite")
    return images


def _inside(attack: Attack, images: Tensor, given: AttackInput) -> Tensor:
    inside = attack.threat.contains(images, given.images)
    if inside.all():
        return images
    fallback = attack.threat.project(images, given.images) if attack.kind == "maximise" else given.images
    return torch.where(inside.reshape(-1, *[1] * (images.ndim - 1)), images, fallback)
