"""PGD that reports each of its calls as the audit event `faults.attack`, at which the harness sends signals."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from torch import Tensor

import matx
from matx.interfaces import AttackInput
from matx.threat import ThreatModel


@matx.attacks.register("probe")
@dataclass(frozen=True, kw_only=True)
class Probe:
    """PGD; `where` says what it is used for."""

    kind: ClassVar[Literal["maximise"]] = "maximise"

    threat: ThreatModel
    where: str
    steps: int = 2

    def __call__(self, given: AttackInput) -> Tensor:
        sys.audit("faults.attack", self.where)
        pgd: Any = matx.attacks["pgd"]
        found: Tensor = pgd(threat=self.threat, steps=self.steps)(given)
        return found

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(threat=ThreatModel(norm="linf", eps=0.1), where="training")]
