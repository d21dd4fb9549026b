"""FAB: the closest adversarial example by steps along the linearised boundary, biased towards the clean image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx.interfaces import AttackInput
from matx.options import Range
from matx.threat import ThreatModel
from registry.attacks._boundary import Plane, likeliest, logits_of, nearest_plane, only_labels, onto_plane


@matx.attacks.register("fab")
@dataclass(frozen=True, kw_only=True)
class FAB:
    """Fast adaptive boundary attack (Croce and Hein 2020, arXiv 1907.02044); l_inf, l2, l1.

    With d(x) the exact projection of x onto (boundary linearised at x_k) ∩ box, and x the clean image:

        x_{k+1} = clip( (1 - alpha) (x_k + eta d(x_k)) + alpha (x + eta d(x)) )
        alpha   = min( alpha_max, ||d(x_k)|| / (||d(x_k)|| + ||d(x)||) )

    A misclassified x_{k+1} is kept if it is the closest so far, and pulled back to x + beta (x_{k+1} - x).
    Untargeted, the boundary is that of the nearest other class, for which a step takes a backward pass a class:
    with many classes set `candidates`, or use FAB-T. FAB-T (`targets` > 0, published: 9) linearises against one
    class at a time, for each of the so many likeliest on the clean image (no more than there are). All targets of a
    sample run side by side. The first start is the clean image, later ones are random within eps / 2.

    Returns the closest misclassified image found, inside the threat model or not; the clean image where none was found.
    """

    threat: ThreatModel
    steps: Annotated[int, Range(1)] = 100
    restarts: Annotated[int, Range(1)] = 1
    targets: Annotated[int, Range(0)] = 0
    """FAB-T against so many classes; 0: untargeted."""
    candidates: Annotated[int, Range(0)] = 0
    """Untargeted: linearise against the so many likeliest classes, a backward pass each; 0: all, as published."""
    alpha_max: Annotated[float, Range(0, 1)] = 0.1
    eta: Annotated[float, Range(1, 2)] = 1.05
    beta: Annotated[float, Range(0, 1)] = 0.9
    stop_inside: bool = False
    """True: a sample leaves the search once it is inside the threat model: enough for accuracies, not for distances."""
    rows: Annotated[int, Range(0)] = 0
    """The most images in one forward; 0: as many as the batch has."""
    kind: ClassVar[Literal["minimum_norm"]] = "minimum_norm"

    def __call__(self, given: AttackInput) -> Tensor:
        """(N, C, H, W)."""
        only_labels("fab", given)
        rows = self.rows or max(1, len(given.images))
        logits = logits_of(given.model, given.images, rows)
        correct = logits.argmax(1) == given.labels
        targets = likeliest(logits, given.labels, self.targets) if self.targets else None
        best = given.images.clone()
        size = torch.full_like(correct, torch.inf, dtype=torch.float64)
        for restart in range(self.restarts):
            left = (correct & (size > self.threat.radius) if self.stop_inside else correct).nonzero()[:, 0]
            if len(left) == 0:
                break
            found, distance = self._run(given.select(left), None if targets is None else targets[left], restart, rows)
            closer = distance < size[left]
            best[left[closer]], size[left[closer]] = found[closer], distance[closer]
        return best

    def _run(self, given: AttackInput, targets: Tensor | None, restart: int, rows: int) -> tuple[Tensor, Tensor]:
        """((n, C, H, W), (n,) float64): the closest example of one start and its distance, inf where there is none.

        Rows are (target, sample) pairs, all targets of one sample together, so that a sample leaves with all of them.
        """
        best = given.images.clone()
        size = torch.full((len(best),), torch.inf, dtype=torch.float64, device=best.device)
        here = torch.arange(len(best), device=best.device)
        views = 1 if targets is None else targets.shape[1]
        x, clean, labels = (_repeat(part, views) for part in (self._start(given, restart), given.images, given.labels))
        others = None if targets is None else targets.T.reshape(-1, 1)
        for _ in range(self.steps):
            x = self._advance(given, x, clean, labels, others, rows)
            fooled = logits_of(given.model, x, rows).argmax(1) != labels
            _keep_closest(best, size, here, x, self._distance(x, clean, fooled))
            x = torch.lerp(clean, x, torch.where(fooled, self.beta, 1.0).reshape(-1, 1, 1, 1))
            stays = size[here] > self.threat.radius
            if self.stop_inside and not bool(stays.all()):
                pairs = stays.repeat(views)
                x, clean, labels, here = x[pairs], clean[pairs], labels[pairs], here[stays]
                others = None if others is None else others[pairs]
                if len(here) == 0:
                    break
        return best, size

    def _distance(self, x: Tensor, clean: Tensor, fooled: Tensor) -> Tensor:
        """(n,) float64: how far the misclassified rows are, inf for the others."""
        rows = fooled.nonzero()[:, 0]
        distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        distance[rows] = self.threat.size(x[rows] - clean[rows])
        return distance

    def _start(self, given: AttackInput, restart: int) -> Tensor:
        if restart == 0:
            return given.images.clone()
        generator, shape = given.generator.at("fab", restart), tuple(given.images.shape[1:])
        noise = 2.0 * generator.uniform(shape) - 1.0 if self.threat.norm == "linf" else generator.normal(shape)
        length = self.threat.size(noise).clamp_min(1e-12).to(noise.dtype)
        delta = noise * (0.5 * self.threat.radius / length).reshape(-1, *[1] * len(shape))
        return (given.images + delta).clamp(0.0, 1.0)

    def _advance(
        self, given: AttackInput, x: Tensor, clean: Tensor, labels: Tensor, others: Tensor | None, rows: int
    ) -> Tensor:
        """Every row's next point, at most `rows` at a time."""
        moved = torch.empty_like(x)
        for start in range(0, len(x), rows):
            at = slice(start, start + rows)
            rivals = self.candidates if others is None else others[at]
            plane = nearest_plane(given.model, x[at], labels[at], rivals, self.threat.norm)
            moved[at] = self._step(x[at], clean[at], plane)
        return moved

    def _step(self, x: Tensor, clean: Tensor, plane: Plane) -> Tensor:
        """One step of the formula above."""
        points, need = torch.stack([x.flatten(1), clean.flatten(1)]), -plane.gap
        from_clean = need + (plane.normal * (points[0] - points[1])).sum(1)
        ways = onto_plane(self.threat.norm, points, plane.normal, torch.stack([need, from_clean]))
        a, b = _length(self.threat.norm, ways).clamp_min(1e-8)
        near, far = points.add_(ways, alpha=self.eta)
        stepped: Tensor = torch.lerp(near, far, (a / (a + b)).clamp_max(self.alpha_max)).clamp_(0.0, 1.0)
        return stepped.reshape(x.shape)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Each norm; targeted; restarts; stopping inside."""
        linf, l2 = ThreatModel(norm="linf", eps="8/255"), ThreatModel(norm="l2", eps=0.5)
        return (
            cls(threat=linf, steps=10),
            cls(threat=l2, steps=10, targets=3),
            cls(threat=ThreatModel(norm="l1", eps=12), steps=10, restarts=2, stop_inside=True),
        )


def _length(norm: str, ways: Tensor) -> Tensor:
    """(2, n, 1)."""
    if norm == "linf":
        return ways.abs().amax(2, keepdim=True)  # on CPUs ten times as fast as vector_norm
    length: Tensor = torch.linalg.vector_norm(ways, {"l2": 2.0, "l1": 1.0}[norm], dim=2, keepdim=True)
    return length


def _keep_closest(best: Tensor, size: Tensor, here: Tensor, x: Tensor, distance: Tensor) -> None:
    """Put into `best` and `size`, at the rows `here`, what is closer: the closest of each sample's targets."""
    shortest, view = distance.reshape(-1, len(here)).min(0)
    closer = shortest < size[here]
    rows = (view * len(here) + torch.arange(len(here), device=here.device))[closer]
    best[here[closer]], size[here[closer]] = x[rows], shortest[closer]


def _repeat(tensor: Tensor, views: int) -> Tensor:
    """The rows once for each view, view by view."""
    return tensor.repeat(views, *[1] * (tensor.dim() - 1))
