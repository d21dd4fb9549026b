"""What the strategies let attacks maximise: divergences from a prediction, fixed or moving."""

from __future__ import annotations

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
    return FreeObjective(_kl_between, models={"teacher": teacher, "student": student})


def _kl_from(logits: Tensor, target: Tensor) -> Tensor:
    return kl_divergence(target, logits)


def _kl_between(images: Tensor, teacher: Model, student: Model) -> Tensor:
    return kl_divergence(teacher(images), student(images))
