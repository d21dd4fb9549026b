"""Gaussian noise of the size of the threat model: the control that every attack must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx.interfaces import AttackInput, ObjectiveName
from matx.options import Range
from matx.threat import ThreatModel


@matx.attacks.register("gaussian")
@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Gaussian noise brought to the edge of the threat model; l_inf, l2, l1.

        x' = project( x + eps n / ||n|| ),  n ~ N(0, I)        (l2, l1)
        x' = project( x + eps n ),          n ~ N(0, I)        (linf: two thirds of the pixels strictly inside)

    It evaluates the model only to choose the worst of several `draws`; a robust accuracy that noise lowers is no
    robustness.
    """

    threat: ThreatModel
    draws: Annotated[int, Range(1)] = 1
    """Keep, a sample, the draw of the highest objective; 1: the model is not evaluated."""
    objective: ObjectiveName = "cross_entropy"
    kind: ClassVar[Literal["maximise"]] = "maximise"

    def __call__(self, given: AttackInput) -> Tensor:
        """(N, C, H, W)."""
        best = self._draw(given, 0)
        if self.draws == 1:
            return best
        with torch.no_grad():
            objective = given.objective_for(self.objective)
            value = objective(best)
            for draw in range(1, self.draws):
                other = self._draw(given, draw)
                reached = objective(other)
                best = torch.where((reached > value).reshape(-1, 1, 1, 1), other, best)
                value = torch.maximum(value, reached)
        return best

    def _draw(self, given: AttackInput, draw: int) -> Tensor:
        noise = given.generator.at("gaussian", draw).normal(tuple(given.images.shape[1:]))
        if self.threat.norm != "linf":
            length = self.threat.size(noise).clamp_min(1e-12).to(noise.dtype)
            noise = noise / length.reshape(-1, 1, 1, 1)
        return self.threat.project(given.images + self.threat.radius * noise, given.images)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Each norm, one draw and several."""
        single = tuple(cls(threat=ThreatModel.parse(key)) for key in ("linf:8/255", "l2:0.5", "l1:12"))
        return (*single, cls(threat=ThreatModel(norm="linf", eps="8/255"), draws=5))
