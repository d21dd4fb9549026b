"""DeepFool: steps onto the nearest linearised boundary until the predicted class changes."""

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
from registry.attacks._boundary import logits_of, nearest_plane, only_labels, onto_plane


@matx.attacks.register("deepfool")
@dataclass(frozen=True, kw_only=True)
class DeepFool:
    """DeepFool (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599); l_inf, l2, l1.

        x_{k+1} = clip( x_k + (1 + overshoot) d_k )

    with d_k the smallest step, in the norm, onto the nearest linearised boundary that stays inside the box; where the
    box does not bind that is the published |f| / ||w||_q^q |w|^{q-1} sign(w), in l2 |f| / ||w||^2 w. The nearest
    boundary is looked for among the `candidates` likeliest other classes.

    The first misclassified image is then brought closer by `halvings` bisections of the way from the clean image:
    steps that stay inside the box are longer than the published ones, which it cuts off, and overshoot more (0: none).
    Returns it, inside the threat model or not; the clean image where none was found.
    """

    threat: ThreatModel
    steps: Annotated[int, Range(1)] = 50
    overshoot: Annotated[float, Range(0, 1)] = 0.02
    candidates: Annotated[int, Range(1)] = 10
    """Linearise against the so many likeliest other classes, a backward pass each."""
    halvings: Annotated[int, Range(0)] = 10
    kind: ClassVar[Literal["minimum_norm"]] = "minimum_norm"

    def __call__(self, given: AttackInput) -> Tensor:
        """(N, C, H, W)."""
        only_labels("deepfool", given)
        count = max(1, len(given.images))
        result = given.images.clone()
        left = (logits_of(given.model, given.images, count).argmax(1) == given.labels).nonzero()[:, 0]
        x = given.images[left]
        for _ in range(self.steps):
            if len(left) == 0:
                break
            norm, labels = self.threat.norm, given.labels[left]
            plane = nearest_plane(given.model, x, labels, self.candidates, norm)
            delta = onto_plane(norm, x.flatten(1), plane.normal, -plane.gap).reshape(x.shape)
            x = (x + (1.0 + self.overshoot) * delta).clamp(0.0, 1.0)
            fooled = logits_of(given.model, x, count).argmax(1) != labels
            result[left[fooled]] = x[fooled]
            left, x = left[~fooled], x[~fooled]
        return self._shortened(given, result, count)

    def _shortened(self, given: AttackInput, found: Tensor, count: int) -> Tensor:
        """The point on the way from the clean image to what was found at which the predicted class changes."""
        low, high = torch.zeros_like(given.labels, dtype=found.dtype), torch.ones_like(given.labels, dtype=found.dtype)
        best = found
        for _ in range(self.halvings):
            middle = 0.5 * (low + high)
            x = torch.lerp(given.images, found, middle.reshape(-1, 1, 1, 1))
            fooled = logits_of(given.model, x, count).argmax(1) != given.labels
            best = torch.where(fooled.reshape(-1, 1, 1, 1), x, best)
            low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
        return best

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Each norm."""
        return tuple(cls(threat=ThreatModel.parse(key), steps=10) for key in ("linf:8/255", "l2:0.5", "l1:12"))
