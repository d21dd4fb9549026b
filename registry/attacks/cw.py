"""Carlini and Wagner's l2 attack: the smallest perturbation by descent, its weight found by binary search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx.errors import OptionError
from matx.interfaces import AttackInput, FreeObjective, value_and_gradient
from matx.losses import margin
from matx.options import Range
from matx.threat import ThreatModel
from registry.attacks._boundary import logits_of, only_labels

_SHRINK = 1.0 - 1e-6
_UNBOUNDED = 1e9


@matx.attacks.register("cw")
@dataclass(frozen=True, kw_only=True)
class CarliniWagner:
    """Carlini and Wagner's l2 attack (2017, arXiv 1608.04644).

        minimise over w   ||x' - x||_2^2 + c max(z_y - max_{j != y} z_j, -confidence),   x' = (tanh w + 1) / 2

    by Adam, from w of the clean image. The weight c starts at `constant`; after each of the `searches` it goes up
    (tenfold until the first success, then halfway) where no example was found and halfway down where one was, a sample
    at a time. With ten searches or more the last one takes the smallest c that succeeded, as published.

    `abort_early` saves some steps at a price: where a loss rises for a while, as after crossing the boundary, the
    search ends although its loss would have decreased further. Others abort by default, but on the loss of the whole
    batch, which hardly ever stays the same.

    Returns the closest misclassified image found, inside the threat model or not; the clean image where none was found.
    """

    threat: ThreatModel
    steps: Annotated[int, Range(1)] = 1000
    searches: Annotated[int, Range(1)] = 9
    constant: Annotated[float, Range(0, open="low")] = 1e-3
    lr: Annotated[float, Range(0, open="low")] = 0.01
    confidence: Annotated[float, Range(0)] = 0.0
    abort_early: bool = False
    """True: a sample ends a search when its loss decreased by less than 0.01 % in a tenth of the steps."""
    kind: ClassVar[Literal["minimum_norm"]] = "minimum_norm"

    def __post_init__(self) -> None:
        if self.threat.norm != "l2":
            raise OptionError(
                "threat",
                got=str(self.threat.key),
                allowed="l2; for other norms use attacks.fab, or attacks.pgd with objective 'margin'",
            )

    def __call__(self, given: AttackInput) -> Tensor:
        """(N, C, H, W)."""
        only_labels("cw", given)
        result = given.images.clone()
        correct = logits_of(given.model, given.images, max(1, len(result))).argmax(1) == given.labels
        left = correct.nonzero()[:, 0]
        if len(left) == 0:
            return result
        given = given.select(left)
        best, size = given.images.clone(), torch.full_like(left, torch.inf, dtype=torch.float32)
        constant = torch.full_like(size, self.constant)
        low, high = torch.zeros_like(size), torch.full_like(size, _UNBOUNDED)
        for search in range(self.searches):
            if self.searches >= 10 and search == self.searches - 1:
                constant = torch.where(high < _UNBOUNDED, high, constant)
            found, distance = self._descend(given, constant)
            closer = distance < size
            best[closer], size[closer] = found[closer], distance[closer]
            success = distance < torch.inf
            high = torch.where(success, torch.minimum(high, constant), high)
            low = torch.where(success, low, torch.maximum(low, constant))
            constant = torch.where(high < _UNBOUNDED, (low + high) / 2, constant * 10)
        result[left] = best
        return result

    def _descend(self, given: AttackInput, constant: Tensor) -> tuple[Tensor, Tensor]:
        """((n, C, H, W), (n,)): the closest example for given weights and its squared distance, inf where none."""
        clean, labels = given.images, given.labels
        best, size = clean.clone(), torch.full_like(constant, torch.inf)
        here = torch.arange(len(clean), device=clean.device)
        w = torch.atanh((2.0 * clean - 1.0) * _SHRINK)
        mean, spread = torch.zeros_like(w), torch.zeros_like(w)
        before = torch.full_like(constant, torch.inf)
        every = max(1, self.steps // 10)
        for step in range(1, self.steps + 1):
            loss, gradient, x, fooled = self._loss(given, w, clean[here], labels[here], constant[here])
            distance = (x - clean[here]).flatten(1).square().sum(1)
            closer = fooled & (distance < size[here])
            best[here[closer]], size[here[closer]] = x[closer], distance[closer]
            mean = 0.9 * mean + 0.1 * gradient
            spread = 0.999 * spread + 0.001 * gradient.square()
            rate = self.lr / (1.0 - 0.9**step)
            w = w - rate * mean / ((spread / (1.0 - 0.999**step)).sqrt() + 1e-8)
            if self.abort_early and step % every == 0:
                stays = loss <= 0.9999 * before
                before, here, w = loss[stays], here[stays], w[stays]
                mean, spread = mean[stays], spread[stays]
                if len(here) == 0:
                    break
        return best, size

    def _loss(
        self, given: AttackInput, w: Tensor, clean: Tensor, labels: Tensor, constant: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The loss, its gradient by w, the images and whether they are misclassified by the confidence."""
        seen: list[Tensor] = []

        def objective(point: Tensor) -> Tensor:
            x = 0.5 * (point.tanh() + 1.0)
            lead = margin(given.model(x).float(), labels)
            seen.extend((x.detach(), lead.detach()))
            distance = (x - clean).flatten(1).square().sum(1)
            return distance + constant * (self.confidence - lead).clamp_min(0.0)

        loss, gradient = value_and_gradient(FreeObjective(objective), w)
        x, lead = seen
        fooled = lead > 0 if self.confidence == 0.0 else lead >= self.confidence
        return loss, gradient, x, fooled

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Few steps, with and without a margin of confidence."""
        l2 = ThreatModel(norm="l2", eps=0.5)
        return (
            cls(threat=l2, steps=20, searches=3, constant=1.0),
            cls(threat=l2, steps=20, searches=2, constant=1.0, confidence=0.5, abort_early=True),
        )
