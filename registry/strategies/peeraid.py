"""PeerAiD: a peer that learns on the student's examples teaches the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import matx
from matx import roles
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, Model, Neutral, Objective
from matx.losses import distillation
from matx.options import Range
from registry.strategies import _objectives
from registry.strategies._losses import label_loss


@matx.strategies.register("peeraid")
@dataclass(frozen=True, kw_only=True)
class PeerAiD:
    """PeerAiD (Jung et al. 2024, CVPR, arXiv 2403.06668): a student s and a peer p, both on the student's examples x'.

    L_p = gamma_label CE(p(x'), y) + (gamma_kl / C) t^2 KL(p_s^t(x') || p_p^t(x'))
    L_s = lambda_label CE(s(x'), y) + (lambda_peer / C) T^2 KL(p_p^T(x') || p_s^T(x'))
          + (lambda_clean / C) T^2 KL(p_s^T(x) || p_s^T(x')),

    logits of the other network detached; the student's clean side is not. Published on CIFAR-10: gamma (1, 0.1), t 1,
    lambda (0, 1, 1), T 5 (CIFAR-100: gamma_kl 1; Tiny-ImageNet: gamma_kl 100, lambda (0.035, 35, 20), T 1), with the
    element-wise mean of KL, hence the division by the classes C: effective batch-mean weights on CIFAR-10 are 2.5, 2.5
    and 0.01. x' maximises KL(p_p(x) || p_s(x')), published from x + 0.001 N(0,1), 10 steps of 2/255.

    In the released code gradient of L_p's KL also reaches the student, as its logits are not detached there; here the
    student's logits are a constant to the peer.
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = False

    student: str = "student"
    """The name of the student."""
    peer: str = "peer"
    """The name of the peer."""
    lambda_label: Annotated[float, Range(0)] = 0.0
    """The student's weight of labels."""
    lambda_peer: Annotated[float, Range(0)] = 1.0
    """The student's weight of the peer's prediction, element-wise as published."""
    lambda_clean: Annotated[float, Range(0)] = 1.0
    """The student's weight of its own clean prediction, element-wise as published."""
    temperature: Annotated[float, Range(0, open="low")] = 5.0
    """T, in the student's terms."""
    gamma_label: Annotated[float, Range(0)] = 1.0
    """The peer's weight of labels."""
    gamma_kl: Annotated[float, Range(0)] = 0.1
    """The peer's weight of the student's prediction, element-wise as published."""
    peer_temperature: Annotated[float, Range(0, open="low")] = 1.0
    """t, in the peer's term."""
    crafting: Literal["published", "attack"] = "published"
    """What attacks maximise: 'published' (KL from the peer's clean prediction) or 'attack' (the attack's own
    objective)."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Both on the student's examples, the student on clean images too, and each one's logits on them."""
        roles.check_trained_roles("peeraid", peers, student=self.student, peer=self.peer)
        roles.check_attacked("peeraid", [peer for peer in peers if peer.name == self.student])
        sources = {self.student: (self.student, CLEAN), self.peer: (self.student,)}
        return Needs(
            train={peer.name: sources[peer.name] for peer in roles.trained(peers)},
            teach=frozenset({(self.peer, self.student), (self.student, self.student)}),
            craft={self.student: (self.peer,)} if self.crafting == "published" else {},
        )

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """KL(p_p(x) || p_s(x'))."""
        return _objectives.kl_from(_objectives.clean_logits(models[self.peer], given), models[self.student])

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """The student's three terms, or the peer's two."""
        classes = exchange.num_classes
        logits = exchange.logits(peer, self.student)
        label = label_loss(exchange, peer, self.student)
        if peer == self.peer:
            target = exchange.teacher_logits(self.student, self.student)
            back = distillation(logits, target, temperature=self.peer_temperature).mean()
            return PeerLoss.of(label=self.gamma_label * label, distillation=self.gamma_kl / classes * back)
        target, clean = exchange.teacher_logits(self.peer, self.student), exchange.logits(peer, CLEAN)
        distilled = distillation(logits, target, temperature=self.temperature).mean()
        own = distillation(logits, clean, temperature=self.temperature).mean()
        return PeerLoss.of(
            label=self.lambda_label * label,
            distillation=self.lambda_peer / classes * distilled,
            clean=self.lambda_clean / classes * own,
        )

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """Student and peer, in either order; the peer needs no attacks."""
        return roles.example_pairs(self.peer, self.student)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As published on CIFAR-10, and with labels and the attack's own objective."""
        return (cls(), cls(lambda_label=0.5, gamma_kl=1.0, temperature=1.0, crafting="attack"))
