"""A plug-in: one file that registers one new attack. Copy it, rename it, change the search.

matx show attacks.spsa --plugin examples/my_attack.py
matx check attacks.spsa --plugin examples/my_attack.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

import matx
from matx.interfaces import AttackInput, Objective
from matx.options import Range
from matx.threat import Norm, ThreatModel


@matx.attacks.register("spsa")
@dataclass(frozen=True, kw_only=True)
class SPSA:
    """x <- P(x + a v(g)) along a gradient g that is estimated from values: a search that gradient masking cannot stop.

    g = mean_k (L(x + d s_k) - L(x - d s_k)) / (2 d) s_k with random signs s_k; v is the steepest direction of the norm
    and P the projection onto ball and box. Spall 1992; as an attack Uesato et al. 2018 (arXiv 1802.05666). Costs
    steps (2 probes + 1) forwards, no backward.
    """

    # What becomes of a result outside the threat model. "maximise": it is projected. "minimum_norm": the clean image
    # takes its place.
    kind: ClassVar[Literal["maximise"]] = "maximise"

    # Every attack has its allowed set. Options are fields; their annotation says what gin files, `matx show` and
    # `matx tune` allow.
    threat: ThreatModel
    steps: Annotated[int, Range(1)] = 20
    probes: Annotated[int, Range(1)] = 16
    """Pairs of forwards for each guess of the gradient."""
    distance: Annotated[float, Range(0, open="low")] = 0.01
    """d, how far the probes lie from the image, on the pixel scale."""
    objective: Literal["cross_entropy", "margin", "dlr"] = "margin"
    """What to maximise unless the strategy supplies it."""

    def __call__(self, given: AttackInput) -> Tensor:
        # given.images (N, C, H, W) fp32 in [0,1], given.labels (N,), given.model: images -> (N, classes) logits, its
        # parameters frozen. This attack asks for values alone; matx.interfaces.value_and_gradient gives gradients.
        length = 2.5 * self.threat.radius / self.steps
        with torch.no_grad():
            # What to maximise, (N, C, H, W) -> (N,): the strategy's where it supplies one, else this attack's own.
            objective = given.objective_for(self.objective)
            images = best = given.images
            highest = objective(best)
            for step in range(self.steps):
                direction = self.threat.steepest(self._guess(given, objective, images, step))
                images = self.threat.project(images + length * direction, given.images)
                value = objective(images)
                higher = value > highest
                best = torch.where(higher.reshape(-1, 1, 1, 1), images, best)
                highest = torch.maximum(value, highest)
        return best  # inside ball and box, without a graph

    def _guess(self, given: AttackInput, objective: Objective, images: Tensor, step: int) -> Tensor:
        """The gradient, from differences along random signs; draws are keyed by sample, so batches change nothing."""
        guess = torch.zeros_like(images)
        for probe in range(self.probes):
            signs = given.generator.at("spsa", step, probe).uniform(tuple(images.shape[1:])).sub(0.5).sign()
            ahead, behind = (objective((images + way * self.distance * signs).clamp(0.0, 1.0)) for way in (1.0, -1.0))
            guess += (ahead - behind).reshape(-1, 1, 1, 1) * signs
        return guess / (2.0 * self.distance * self.probes)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[SPSA]:
        """Each norm: the contracts are tried on these."""
        radii: dict[Norm, float | str] = {"linf": "8/255", "l2": 0.5, "l1": 2.0}
        return [cls(threat=ThreatModel(norm=norm, eps=eps), steps=4) for norm, eps in radii.items()]
