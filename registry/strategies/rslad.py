"""RSLAD: a robust teacher's soft labels replace all hard ones, in crafting and in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import matx
from matx import roles
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, Model, Neutral, Objective
from matx.losses import kl_divergence
from matx.options import Range
from registry.strategies import _objectives


@matx.strategies.register("rslad")
@dataclass(frozen=True, kw_only=True)
class RSLAD:
    """Robust soft label adversarial distillation (Zi et al. 2021, ICCV, arXiv 2108.07969) from a frozen teacher t.

    L_s = (adversarial / C) KL(p_t(x) || p_s(x')) + (clean / C) KL(p_t(x) || p_s(x)).

    Published 5/6 and 1/6, temperature 1, with the element-wise mean of KL, hence the division by the classes C
    (effective batch-mean weights 0.0833 and 0.0167 on CIFAR-10). On CIFAR-100 the released code multiplies the KL by
    10: set 50/6 and 10/6. It adds 1e-5 inside the teacher's logarithm, a constant that we leave out. x' maximises
    KL(p_t(x) || p_s(x')), published from x + 0.001 N(0,1), 10 steps of 2/255. Every peer that is not frozen is a
    student of its own.
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = False

    teacher: str | None = None
    """The teacher's name; None: the only frozen peer."""
    adversarial: Annotated[float, Range(0, open="low")] = 5.0 / 6.0
    """Weight on examples, element-wise as published."""
    clean: Annotated[float, Range(0)] = 1.0 / 6.0
    """Weight on clean images, element-wise as published."""
    crafting: Literal["published", "attack"] = "published"
    """What attacks maximise: 'published' (KL from the teacher's clean prediction) or 'attack' (the attack's own
    objective)."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """The students' own examples and clean images, and the teacher's clean logits."""
        name, students = roles.teacher("rslad", self.teacher, peers), roles.trained(peers)
        roles.check_attacked("rslad", students)
        clean = (CLEAN,) if self.clean else ()
        return Needs(
            train={student.name: (student.name, *clean) for student in students},
            teach=frozenset({(name, CLEAN)}),
            craft={student.name: (name,) for student in students if self.crafting == "published"},
        )

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """KL(p_t(x) || p_s(x'))."""
        (name,) = (other for other in models if other != peer)
        return _objectives.kl_from(_objectives.clean_logits(models[name], given), models[peer])

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Divergences from the teacher's clean prediction."""
        target = exchange.teacher_logits(roles.teacher("rslad", self.teacher, exchange.peers), CLEAN)
        weights = {"distillation": (peer, self.adversarial), "clean": (CLEAN, self.clean)}
        terms = {
            term: weight / exchange.num_classes * kl_divergence(target, exchange.logits(peer, source)).mean()
            for term, (source, weight) in weights.items()
            if weight
        }
        return PeerLoss.of(**terms)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One student and two, one teacher."""
        return roles.example_students(self.teacher or "teacher")

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As published, and on the attack's own objective."""
        return (cls(), cls(adversarial=1.0, clean=0.0, crafting="attack", teacher="t"))
