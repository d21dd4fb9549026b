"""Transfer: other peers' finished examples, the worst of them for this model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx.errors import OptionError
from matx.interfaces import AttackInput, ObjectiveName
from matx.threat import ThreatModel


@matx.attacks.register("transfer")
@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Examples of other peers, as in ensemble adversarial training (Tramer et al. 2018, arXiv 1705.07204).

        x' = argmax_{v in views of the sources} objective(project(v))        one choice a sample

    With the margin max_{j != y} z_j - z_y as the objective a misclassified view always goes before one that is not. The
    gradient of this model is never used, so gradient masking cannot help it.
    """

    threat: ThreatModel
    sources: Sequence[str]
    """The peers whose examples are used; they are crafted first."""
    objective: ObjectiveName = "margin"
    kind: ClassVar[Literal["maximise"]] = "maximise"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        if not self.sources:
            raise OptionError("sources", got="none", allowed="the name of at least one other peer")

    def __call__(self, given: AttackInput) -> Tensor:
        """(N, C, H, W)."""
        missing = [name for name in self.sources if name not in given.sources]
        if missing:
            known = ", ".join(given.sources) or "none"
            raise OptionError(f"attacks.transfer.sources: got {', '.join(missing)}, allowed here: {known}")
        with torch.no_grad():
            objective = given.judged().objective_for(self.objective)
            views = [view for name in self.sources for view in given.sources[name]]
            best = self.threat.project(views[0], given.images)
            if len(views) == 1:
                return best
            value = objective(best)
            for view in views[1:]:
                other = self.threat.project(view, given.images)
                reached = objective(other)
                best = torch.where((reached > value).reshape(-1, 1, 1, 1), other, best)
                value = torch.maximum(value, reached)
        return best

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """One source and two."""
        linf, l2 = ThreatModel(norm="linf", eps="8/255"), ThreatModel(norm="l2", eps=0.5)
        return cls(threat=linf, sources=("a",)), cls(threat=l2, sources=("a", "b"), objective="cross_entropy")
