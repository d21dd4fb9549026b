"""Models, images and calls that the tests of minimum-norm attacks share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

import matx
from matx.interfaces import Attack
from matx.randomness import SampleGenerator

NORMS = ("linf", "l2", "l1")
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}


def made(name: str, **options: Any) -> Attack:
    component: Any = matx.attacks[name]
    attack: Attack = component(**options)
    return attack


def threat(norm: str, eps: float = 0.05) -> matx.ThreatModel:
    return matx.ThreatModel(norm=norm, eps=eps)


class Linear(nn.Module):
    """z = W x + b on flat images, in which every distance has a closed form."""

    def __init__(self, classes: int = 3, entries: int = 12, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("weight", torch.randn(classes, entries, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = (images.flatten(1) - 0.5) @ self.weight.T
        return logits


def network(classes: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 24), nn.SiLU(), nn.Linear(24, classes))
    with torch.no_grad():
        model[1].weight.mul_(4.0)
    return model.requires_grad_(False).eval()


def pixels(count: int = 8, seed: int = 1, low: float = 0.3, high: float = 0.7) -> Tensor:
    return low + (high - low) * torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(seed))


def attack_input(model: nn.Module, images: Tensor, **more: Any) -> matx.AttackInput:
    labels = model(images).argmax(1)
    draws = SampleGenerator(3, torch.arange(len(images)))
    return matx.AttackInput(model=model, images=images, labels=labels, generator=draws, **more)


def exact_distances(model: Linear, given: matx.AttackInput, norm: str) -> Tensor:
    """(N,): |gap| / ||w||_dual of the nearest class (the box is far away)."""
    logits = model(given.images)
    dual = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}[norm]
    distances = []
    for logit, label in zip(logits, given.labels, strict=True):
        others = [k for k in range(len(logit)) if k != label]
        distances.append(
            min(
                float((logit[label] - logit[k]) / torch.linalg.vector_norm(model.weight[label] - model.weight[k], dual))
                for k in others
            )
        )
    return torch.tensor(distances, dtype=torch.float64)


def oracle(norm: str, x: np.ndarray, w: np.ndarray, c: float) -> float:
    """The length of the smallest delta with w . delta = c and x + delta in [0,1], by a linear program or by SLSQP."""
    d = len(x)
    if norm == "linf":
        ball = np.block([[np.eye(d), -np.ones((d, 1))], [-np.eye(d), -np.ones((d, 1))]])
        box = [(-a, 1 - a) for a in x] + [(0, None)]
        found = linprog(
            np.r_[np.zeros(d), 1], A_ub=ball, b_ub=np.zeros(2 * d), A_eq=[np.r_[w, 0]], b_eq=[c], bounds=box
        )
        return float(found.fun)
    if norm == "l1":
        box = [(0, 1 - a) for a in x] + [(0, a) for a in x]
        return float(linprog(np.ones(2 * d), A_eq=[np.r_[w, -w]], b_eq=[c], bounds=box).fun)
    plane = {"type": "eq", "fun": lambda v: w @ v - c, "jac": lambda v: w}
    box = [(-a, 1 - a) for a in x]
    options = {"ftol": 1e-14, "maxiter": 500}
    solved = minimize(
        lambda v: v @ v,
        np.zeros(d),
        jac=lambda v: 2 * v,
        bounds=box,
        constraints=[plane],
        method="SLSQP",
        options=options,
    )
    return float(np.sqrt(solved.fun))
