"""What the strategies let attacks maximise: divergences from a prediction, fixed or moving."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from matx.interfaces import AttackInput, FreeObjective, LogitObjective, Model
from matx.losses import kl_divergence


def clean_logits(model: Model, given: AttackInput) -> Tensor:
    """(N, classes) detached logits on the clean images."""
    with torch.no_grad():
        return model(given.images)


def kl_from(target: Tensor, model: Model) -> LogitObjective:
    """KL(p_target || p(x')), the target fixed."""
    return LogitObjective(model, _kl_from, {"target": target})


def kl_between(teacher: Model, student: Model) -> FreeObjective:
    """KL(p_teacher(x') || p_student(x')), the gradient through both."""
    return FreeObjective(_Moving(teacher, student))


def _kl_from(logits: Tensor, target: Tensor) -> Tensor:
    return kl_divergence(target, logits)


class _Moving:
    """images -> KL between two models' predictions on them."""

    def __init__(self, teacher: Model, student: Model) -> None:
        self.teacher: Callable[[Tensor], Tensor] = teacher
        self.student: Callable[[Tensor], Tensor] = student

    def __call__(self, images: Tensor) -> Tensor:
        return kl_divergence(self.teacher(images), self.student(images))
