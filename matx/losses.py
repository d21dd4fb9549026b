"""Losses as pure functions of logits (..., N, classes), one value a sample: (..., N). The caller reduces, by a mean."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from matx.errors import OptionError

__all__ = [
    "CLASSES_NEEDED",
    "cross_entropy",
    "distillation",
    "dlr",
    "js_divergence",
    "kl_divergence",
    "margin",
    "mse",
    "soft_cross_entropy",
    "targeted_dlr",
]


CLASSES_NEEDED = {"dlr": 3, "targeted_dlr": 4}
"""{objective: the fewest classes that it is defined for}; every other takes 2."""


def _true(logits: Tensor, labels: Tensor) -> Tensor:
    """(..., N): the logit of each sample's label; labels (N,) serve every view."""
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    return logits.gather(-1, index).squeeze(-1)


def _best_other(logits: Tensor, labels: Tensor) -> Tensor:
    """(..., N): the largest logit of another class."""
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    return logits.scatter(-1, index, -torch.inf).amax(-1)


def cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """-(1-s) log p_y - (s/C) sum_c log p_c; (..., N, C) and (N,) int64 -> (..., N)."""
    log_p = F.log_softmax(logits, -1)
    nll = -_true(log_p, labels)
    return nll if smoothing == 0.0 else (1.0 - smoothing) * nll - smoothing * log_p.mean(-1)


def soft_cross_entropy(logits: Tensor, target: Tensor, *, temperature: float = 1.0) -> Tensor:
    """H(q^T, p^T) = -sum_c q_c log p_c, with q^T from the target's logits; no factor T^2."""
    q = F.softmax(target / temperature, -1)
    return -(q * F.log_softmax(logits / temperature, -1)).sum(-1)


def kl_divergence(target: Tensor, logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL(q^T || p^T) = sum_c q_c (log q_c - log p_c), q of the target's logits, p of the logits; no factor T^2."""
    log_q = F.log_softmax(target / temperature, -1)
    log_p = F.log_softmax(logits / temperature, -1)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


def distillation(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """T^2 KL(teacher^T || student^T) per sample (Hinton et al. 2015, arXiv 1503.02531); its mean is the batch mean.

    Published weights of an element-wise mean (`KLDivLoss(reduction='mean')`) are this one's times 1/C. The teacher is
    not detached here: exchanged logits already are.
    """
    return temperature**2 * kl_divergence(teacher, student, temperature=temperature)


def js_divergence(*logits: Tensor) -> Tensor:
    """The mean KL of each softmax to their average (Jensen-Shannon, natural logarithm)."""
    log_p = torch.stack([F.log_softmax(z, -1) for z in logits])
    p = log_p.exp()
    log_mean = p.mean(0).clamp_min(1e-12).log()
    return (p * (log_p - log_mean)).sum(-1).mean(0)


def mse(first: Tensor, second: Tensor) -> Tensor:
    """The mean over classes of the squared difference of logits."""
    return (first - second).square().mean(-1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max_{j != y} z_j - z_y: positive where misclassified (Carlini and Wagner 2017, arXiv 1608.04644)."""
    return _best_other(logits, labels) - _true(logits, labels)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """-(z_y - max_{j != y} z_j) / (z_(1) - z_(3) + 1e-12) (Croce and Hein 2020, arXiv 2003.01690); 3+ classes."""
    _check_classes(logits, "dlr")
    top = logits.topk(3, -1).values
    return margin(logits, labels) / (top[..., 0] - top[..., 2] + 1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2 + 1e-12) (Croce and Hein 2020, arXiv 2003.01690); 4+ classes."""
    _check_classes(logits, "targeted_dlr")
    top = logits.topk(4, -1).values
    gap = top[..., 0] - 0.5 * (top[..., 2] + top[..., 3]) + 1e-12
    return (_true(logits, targets) - _true(logits, labels)) / gap


def _check_classes(logits: Tensor, name: str) -> None:
    if logits.shape[-1] < CLASSES_NEEDED[name]:
        raise OptionError(
            f"objective {name!r}: got {logits.shape[-1]} classes, allowed: at least {CLASSES_NEEDED[name]}; "
            "use 'cross_entropy' or 'margin'"
        )
