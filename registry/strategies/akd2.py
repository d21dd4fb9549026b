"""Two teachers, a standard and a robust one, smooth a student's labels against robust overfitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import matx
from matx import roles
from matx.exchange import Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.losses import soft_cross_entropy
from matx.options import Range
from registry.strategies._losses import label_loss


@matx.strategies.register("akd2")
@dataclass(frozen=True, kw_only=True)
class AKD2:
    """Distillation from two frozen teachers (Chen et al. 2021, ICLR, openreview qZzy5urZw9), also known as AKD2.

    L_s = label CE(s(x'), y) + standard_weight T^2 H(p_std^T(x'), p_s^T(x'))
          + robust_weight T^2 H(p_rob^T(x'), p_s^T(x')),

    with the soft cross-entropy H(q, p) = -sum_c q_c log p_c, means over batch and views. Released: 0.3, 0.1, 0.6, T 2.
    (IAD's re-run: 0.25, 0.25, 0.5, T 1, with KL for H, which differs by a constant.) Examples maximise the
    cross-entropy (the attack's own default). The paper averages the student's weights from epoch 55 of 200. Every peer
    that is not frozen is a student of its own.
    """

    neutral: ClassVar[Neutral | None] = Neutral(
        settings={"label": 1.0, "standard_weight": 0.0, "robust_weight": 0.0}, equals="independent"
    )
    symmetric: ClassVar[bool] = False

    standard: str = "standard"
    """The name of the standard teacher, a frozen peer."""
    robust: str = "robust"
    """The name of the robust teacher, a frozen peer."""
    label: Annotated[float, Range(0)] = 0.3
    """Weight of labels."""
    standard_weight: Annotated[float, Range(0)] = 0.1
    """Weight of the standard teacher's prediction."""
    robust_weight: Annotated[float, Range(0)] = 0.6
    """Weight of the robust teacher's prediction."""
    temperature: Annotated[float, Range(0, open="low")] = 2.0
    """T, for both sides of H."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """The students' own examples, and both teachers' logits on them."""
        roles.check_frozen_roles("akd2", peers, standard=self.standard, robust=self.robust)
        students = roles.trained(peers)
        roles.check_attacked("akd2", students)
        return Needs(
            train={student.name: (student.name,) for student in students},
            teach=frozenset(
                (teacher, s.name) for teacher, weight in self._teachers().items() if weight for s in students
            ),
        )

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Cross-entropy with the labels and with both teachers' predictions."""
        terms = {"label": self.label * label_loss(exchange, peer, peer)}
        for term, (teacher, weight) in zip(("standard", "robust"), self._teachers().items(), strict=True):
            if weight:
                target = exchange.teacher_logits(teacher, peer)
                soft = soft_cross_entropy(exchange.logits(peer, peer), target, temperature=self.temperature).mean()
                terms[term] = weight * self.temperature**2 * soft
        return PeerLoss.of(**terms)

    def _teachers(self) -> dict[str, float]:
        return {self.standard: self.standard_weight, self.robust: self.robust_weight}

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One student and two, two teachers."""
        return roles.example_students(self.standard, self.robust)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As released, and as in IAD's re-run."""
        return (cls(), cls(label=0.25, standard_weight=0.25, robust_weight=0.5, temperature=1.0))
