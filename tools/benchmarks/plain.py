"""The loops that people write, in plain PyTorch; PGD is torchattacks', called as its README shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matx.threat import ThreatModel


def kl(logits: Tensor, target: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(logits, 1), F.softmax(target, 1), reduction="batchmean")


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainMutual:
    """Peers that share examples and teach each other, with the loss and the passes of `mat` as it is by default."""

    models: Sequence[nn.Module]
    optimizers: Sequence[torch.optim.Optimizer]
    bf16: bool = False
    """True: autocast around every forward."""

    def step(self, images: Tensor, labels: Tensor) -> None:
        torchattacks: Any = import_module("torchattacks")
        with torch.autocast(images.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            attacks = [
                torchattacks.PGD(m, eps=8 / 255, alpha=2 / 255, steps=10, random_start=True) for m in self.models
            ]
            examples = [attack(images, labels) for attack in attacks]
            losses = self.losses(examples, labels)
        for loss, optimizer in zip(losses, self.optimizers, strict=True):
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    def losses(self, examples: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
        """Half the weight on own examples, half on the others': labels, and their owner's logits."""
        with torch.no_grad():
            answers = [model(own) for model, own in zip(self.models, examples, strict=True)]
        losses = []
        for number, model in enumerate(self.models):
            others = [other for other in range(len(examples)) if other != number]
            own, *theirs = model(torch.cat([examples[source] for source in (number, *others)])).chunk(len(examples))
            loss = 0.5 * F.cross_entropy(own, labels)
            for source, logits in zip(others, theirs, strict=True):
                share = 0.25 / len(others)
                loss = loss + share * F.cross_entropy(logits, labels) + share * kl(logits, answers[source])
            losses.append(loss)
        return losses


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainUnion:
    """gin/mat_union.gin by hand: a specialist a norm, and a generalist on the worst of its own three examples."""

    models: Mapping[str, nn.Module]
    """{norm or 'generalist': network}."""
    optimizers: Mapping[str, torch.optim.Optimizer]
    threats: Mapping[str, ThreatModel]

    def step(self, images: Tensor, labels: Tensor) -> None:
        examples = {n: ascended(self.models[n], images, labels, self.threats[n]) for n in self.threats}
        examples["generalist"] = self._worst(images, labels)
        with torch.no_grad():
            answers = [self.models[norm](examples["generalist"]) for norm in self.threats]
        for name, model in self.models.items():
            logits = model(examples[name])
            loss = F.cross_entropy(logits, labels)
            if name == "generalist":
                loss = 0.5 * loss + 0.5 * sum(kl(logits, t) for t in answers) / len(answers)
            self.optimizers[name].zero_grad()
            torch.autograd.backward(loss)
            self.optimizers[name].step()

    def _worst(self, images: Tensor, labels: Tensor) -> Tensor:
        model = self.models["generalist"]
        views = [ascended(model, images, labels, threat) for threat in self.threats.values()]
        model.eval()
        with torch.no_grad():
            losses = F.cross_entropy(model(torch.cat(views)), labels.repeat(len(views)), reduction="none")
        model.train()
        worst = losses.reshape(len(views), -1).argmax(0)
        return torch.stack(views)[worst, torch.arange(len(labels), device=labels.device)]


def ascended(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, steps: int = 10) -> Tensor:
    """PGD in any of the three norms from a random start; of all iterates that of the highest loss."""
    eps, size = threat.radius, 2.5 * threat.radius / steps
    model.eval().requires_grad_(False)
    noise = torch.empty_like(images).uniform_(-1, 1)
    start = noise * (eps if threat.norm == "linf" else eps / images[0].numel())
    point, best = (images + start).clamp(0, 1), images
    highest = torch.full((len(images),), -torch.inf, device=images.device)
    for turn in range(steps + 1):
        point = point.detach().requires_grad_(turn < steps)
        with torch.set_grad_enabled(turn < steps):
            losses = F.cross_entropy(model(point), labels, reduction="none")
        higher = losses.detach() > highest
        best = torch.where(higher.reshape(-1, 1, 1, 1), point.detach(), best)
        highest = torch.where(higher, losses.detach(), highest)
        if turn < steps:
            (gradient,) = torch.autograd.grad(losses.sum(), point)
            point = projected(point.detach() + size * steepest(gradient, threat.norm), images, eps, threat.norm)
    model.train().requires_grad_(True)
    return best


def steepest(gradient: Tensor, norm: str) -> Tensor:
    if norm == "linf":
        return gradient.sign()
    flat = gradient.flatten(1)
    if norm == "l2":
        unit: Tensor = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return unit.reshape(gradient.shape)
    top = flat.abs().topk(max(1, round(0.05 * flat.shape[1])), dim=1).indices
    signs = flat.gather(1, top).sign() / top.shape[1]
    direction: Tensor = torch.zeros_like(flat).scatter(1, top, signs).reshape(gradient.shape)
    return direction


def projected(point: Tensor, clean: Tensor, eps: float, norm: str) -> Tensor:
    """Onto the ball, then the box."""
    delta = (point - clean).flatten(1)
    if norm == "linf":
        delta = delta.clamp(-eps, eps)
    elif norm == "l2":
        delta = delta * (eps / delta.norm(dim=1, keepdim=True).clamp_min(eps))
    else:
        ordered = delta.abs().sort(dim=1, descending=True).values
        excess = (ordered.cumsum(1) - eps) / torch.arange(1, ordered.shape[1] + 1, device=delta.device)
        count = (ordered > excess).sum(1, keepdim=True).clamp_min(1)
        shrunk = (delta.abs() - excess.gather(1, count - 1)).clamp_min(0) * delta.sign()
        delta = torch.where(delta.abs().sum(1, keepdim=True) > eps, shrunk, delta)
    return (clean + delta.reshape(clean.shape)).clamp(0, 1)
