"""ARD: a student's prediction on examples learns from a robust teacher's on clean images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import matx
from matx import roles
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.losses import distillation
from matx.options import Range
from registry.strategies._losses import label_loss


@matx.strategies.register("ard")
@dataclass(frozen=True, kw_only=True)
class ARD:
    """Adversarially robust distillation (Goldblum et al. 2020, AAAI, arXiv 1905.09747) from a frozen teacher t.

    L_s = (alpha / C) T^2 KL(p_t^T(x) || p_s^T(x')) + (1 - alpha) CE(s(x), y).

    Released: alpha 1, T 30, with the element-wise mean of KL, hence the division by the classes C (an effective
    batch-mean weight of T^2 / C = 90 on CIFAR-10); `elementwise` = False leaves it out, as IAD's re-run does (with T
    1). Examples maximise the cross-entropy (the attack's own default; published 10 steps of 2/255 from a uniform start,
    in train mode). Every peer that is not frozen is a student of its own.
    """

    neutral: ClassVar[Neutral | None] = Neutral(
        settings={"alpha": 0.0}, equals="independent", others={"adversarial": 0.0, "clean": 1.0}
    )
    symmetric: ClassVar[bool] = False

    teacher: str | None = None
    """The teacher's name; None: the only frozen peer."""
    alpha: Annotated[float, Range(0, 1)] = 1.0
    """The share of distillation."""
    temperature: Annotated[float, Range(0, open="low")] = 30.0
    """T, for both sides of the KL."""
    elementwise: bool = True
    """True: KL over the number of classes, as released; False: the batch mean."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """The students' own examples, clean images where labels count, and the teacher's clean logits."""
        name, students = roles.teacher("ard", self.teacher, peers), roles.trained(peers)
        roles.check_attacked("ard", students)
        clean = (CLEAN,) if self.alpha < 1.0 else ()
        return Needs(
            train={s.name: (s.name, *clean) if self.alpha else clean for s in students},
            teach=frozenset({(name, CLEAN)} if self.alpha else ()),
        )

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Distillation on examples, and clean cross-entropy."""
        terms = {}
        if self.alpha:
            target = exchange.teacher_logits(roles.teacher("ard", self.teacher, exchange.peers), CLEAN)
            distilled = distillation(exchange.logits(peer, peer), target, temperature=self.temperature).mean()
            terms["distillation"] = self.alpha / (exchange.num_classes if self.elementwise else 1) * distilled
        if self.alpha < 1.0:
            terms["clean"] = (1.0 - self.alpha) * label_loss(exchange, peer, CLEAN)
        return PeerLoss.of(**terms)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One student and two, one teacher."""
        return roles.example_students(self.teacher or "teacher")

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As released, and as in IAD's re-run with labels."""
        return (cls(), cls(alpha=0.5, temperature=1.0, elementwise=False, teacher="t"))
