"""Models, images and calls that the tests of first-order attacks share."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import matx
from matx.interfaces import Attack
from matx.randomness import SampleGenerator

LINF, L2, L1 = (matx.ThreatModel(norm=n, eps=e) for n, e in (("linf", 0.1), ("l2", 0.5), ("l1", 1.5)))
THREATS = pytest.mark.parametrize("threat", [LINF, L2, L1], ids=["linf", "l2", "l1"])


class Watched(nn.Module):
    """A model that remembers what it was shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(images.detach().clone())
        logits: Tensor = self.inner(images)
        return logits


def network(seed: int = 0, classes: int = 5, scale: float = 4.0) -> nn.Module:
    """A small rugged network, with frozen parameters as craft gives it."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.SiLU(), nn.Linear(64, classes))
    with torch.no_grad():
        model[1].weight.mul_(scale)
    return model.requires_grad_(False).eval()


def pixels(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (1.4 * torch.rand(count, 1, 6, 6, generator=generator) - 0.2).clamp(0, 1)


def attack_input(
    model: nn.Module, images: Tensor, labels: Tensor | None = None, key: int = 1, **more: Any
) -> matx.AttackInput:
    with torch.no_grad():
        labels = model(images).argmax(1) if labels is None else labels
    if isinstance(model, Watched):
        model.shown.clear()
    generator = SampleGenerator(key, torch.arange(len(images)))
    return matx.AttackInput(model=model, images=images, labels=labels, generator=generator, **more)


def attack(name: str, **options: Any) -> Attack:
    return matx.attacks[name](**options)


def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(model(images), labels, reduction="none")


def flags(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    wrong: Tensor = model(images).argmax(1) != labels
    return wrong


def linear_case() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """(model, images, labels 0, w): two classes, margin = w x + b."""
    torch.manual_seed(3)
    layer = nn.Linear(36, 2)
    model = nn.Sequential(nn.Flatten(), layer).requires_grad_(False)
    return model, pixels(40), torch.zeros(40, dtype=torch.int64), layer.weight[1] - layer.weight[0]


def best_gain(threat: matx.ThreatModel, clean: Tensor, weight: Tensor) -> Tensor:
    """max w delta over ball and box in float64: clip, bisect a multiplier, or fill the largest entries first."""
    base, w = clean.flatten(1).double(), weight.double()
    room = torch.where(w > 0, 1 - base, base)
    if threat.norm == "linf":
        return (room.clamp_max(threat.radius) * w.abs()).sum(1)
    if threat.norm == "l2":
        low, high = torch.zeros(len(base), 1).double(), torch.full((len(base), 1), 1e6).double()
        for _ in range(200):
            middle = (low + high) / 2
            fits = torch.minimum(room, middle * w.abs()).norm(dim=1, keepdim=True) <= threat.radius
            low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
        return (torch.minimum(room, low * w.abs()) * w.abs()).sum(1)
    order = w.abs().argsort(descending=True)
    before = room[:, order].cumsum(1) - room[:, order]
    spent = torch.minimum(room[:, order], (threat.radius - before).clamp_min(0))
    return (spent * w.abs()[order]).sum(1)
