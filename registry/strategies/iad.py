"""Introspective adversarial distillation: a student trusts its teacher as far as the teacher knows the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch.nn.functional as F
from torch import Tensor

import matx
from matx import roles
from matx.errors import OptionError
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, Model, Neutral, Objective
from matx.losses import distillation, kl_divergence
from matx.options import Range
from registry.strategies import _objectives
from registry.strategies._losses import label_loss


@matx.strategies.register("iad")
@dataclass(frozen=True, kw_only=True)
class IAD:
    """Introspective adversarial distillation (Zhu et al. 2022, ICLR, arXiv 2106.04928), trust w = p_t(y | x')^b.

    IAD-I (`standard` = None), from a robust teacher t:
    L_s = alpha T^2 KL(p_t^T(x) || p_s^T(x')) + alpha (1 - w) KL(p_s(x) || p_s(x')) + (1 - alpha) CE(s(x), y)

    IAD-II (`standard` names a second frozen peer, and alpha_standard its share):
    L_s = (1 - alpha - alpha_standard) CE(s(x'), y) + alpha_standard T^2 KL(p_std^T(x') || p_s^T(x'))
          + alpha T^2 [ w KL(p_t^T(x') || p_s^T(x')) + (1 - w) KL(p_s(x) || p_s(x')) ]

    AdaIAD (`adaptive`; Huang et al. 2023, CVPR): IAD-I with the teacher's prediction on the example instead of the
    clean image, KL(p_t^T(x') || p_s^T(x')), which is also what examples maximise, the gradient through both networks,
    as in AdaAD. Released with temperature 30, else like IAD-I.

    Before `warmup` w is 1: pure ARD, or AKD2. Released: b 0.1; IAD-I alpha 1, warm-up 60 of 200 epochs; IAD-II alpha
    0.5, alpha_standard 0.25, warm-up 40 of 200; T 1. KL sums over classes, means over batch and views. The teacher's
    term of IAD-I is not weighted by w in the released code, which we follow; the student's clean prediction is not
    detached. Examples of IAD maximise the cross-entropy (the attack's own default). Every peer that is not frozen is a
    student.
    """

    neutral: ClassVar[Neutral | None] = Neutral(
        settings={
            "teacher": "teacher",
            "standard": None,
            "alpha": 1.0,
            "temperature": 1.0,
            "trust": 0.0,
            "adaptive": False,
        },
        equals="ard",
        others={"temperature": 1.0, "elementwise": False, "teacher": "teacher"},
    )
    symmetric: ClassVar[bool] = False

    teacher: str = "teacher"
    """The name of the robust teacher, a frozen peer."""
    standard: str | None = None
    """The name of the standard teacher; None: IAD-I."""
    alpha: Annotated[float, Range(0, 1)] | None = None
    """The share of the robust teacher (and of the student itself); None: 1 in IAD-I, 0.5 in IAD-II."""
    alpha_standard: Annotated[float, Range(0, 1)] = 0.25
    """The share of the standard teacher, in IAD-II only."""
    temperature: Annotated[float, Range(0, open="low")] = 1.0
    """T, in the teachers' terms."""
    trust: Annotated[float, Range(0)] = 0.1
    """b, the exponent of the teacher's probability of the label."""
    warmup: Annotated[float, Range(0, 1)] | None = None
    """The share of training in which the teacher is trusted fully; None: 0.3 in IAD-I, 0.2 in IAD-II."""

    adaptive: bool = False
    """True: AdaIAD."""
    crafting: Literal["published", "attack"] = "published"
    """What attacks maximise: 'published' (labels; AdaIAD: the gap between teacher and student) or 'attack' (the
    attack's own objective)."""

    def __post_init__(self) -> None:
        if self.adaptive and self.standard is not None:
            raise OptionError(
                "adaptive", got=f"True beside standard {self.standard!r}", allowed="False, or standard None"
            )
        if self.standard is not None and self._alpha + self.alpha_standard > 1.0:
            raise OptionError(
                "alpha", got=f"{self._alpha} beside alpha_standard {self.alpha_standard}", allowed="at most 1 together"
            )

    @property
    def _alpha(self) -> float:
        return self.alpha if self.alpha is not None else 1.0 if self.standard is None else 0.5

    @property
    def _warmup(self) -> float:
        return self.warmup if self.warmup is not None else 0.3 if self.standard is None else 0.2

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """The students' own examples and clean images, and the teachers' logits."""
        teachers = {"teacher": self.teacher} | ({} if self.standard is None else {"standard": self.standard})
        roles.check_frozen_roles("iad", peers, **teachers)
        students = roles.trained(peers)
        roles.check_attacked("iad", students)
        teach = {(name, student.name) for name in teachers.values() for student in students}
        clean = (CLEAN,) if self.trust or (self.standard is None and self._alpha < 1.0) else ()
        if self.standard is None and not self.adaptive:
            teach = {(self.teacher, CLEAN)} | (teach if self.trust else set())
        through_both = self.adaptive and self.crafting == "published"
        return Needs(
            train={student.name: (student.name, *clean) for student in students},
            teach=frozenset(teach),
            craft={student.name: (self.teacher,) for student in students if through_both},
        )

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """Of AdaIAD: KL(p_t(x') || p_s(x')), the gradient through both."""
        return _objectives.kl_between(models[self.teacher], models[peer])

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Distillation, introspection by lack of trust, and labels."""
        return self._one(exchange, peer) if self.standard is None else self._two(exchange, peer, self.standard)

    def _one(self, exchange: Exchange, peer: str) -> PeerLoss:
        logits = exchange.logits(peer, peer)
        target = exchange.teacher_logits(self.teacher, peer if self.adaptive else CLEAN)
        terms = {"distillation": self._alpha * distillation(logits, target, temperature=self.temperature).mean()}
        if self._trusting(exchange):
            terms["introspection"] = self._alpha * self._introspection(exchange, peer).mean()
        if self._alpha < 1.0:
            terms["clean"] = (1.0 - self._alpha) * label_loss(exchange, peer, CLEAN)
        return PeerLoss.of(**terms)

    def _two(self, exchange: Exchange, peer: str, standard: str) -> PeerLoss:
        logits, share, square = exchange.logits(peer, peer), self.alpha_standard, self.temperature**2
        robust = distillation(logits, exchange.teacher_logits(self.teacher, peer), temperature=self.temperature)
        plain = distillation(logits, exchange.teacher_logits(standard, peer), temperature=self.temperature).mean()
        terms = {"label": (1.0 - self._alpha - share) * label_loss(exchange, peer, peer), "standard": share * plain}
        if self._trusting(exchange):
            robust = self._w(exchange, peer) * robust
            terms["introspection"] = self._alpha * square * self._introspection(exchange, peer).mean()
        return PeerLoss.of(distillation=self._alpha * robust.mean(), **terms)

    def _trusting(self, exchange: Exchange) -> bool:
        """Whether trust is partial by now."""
        return bool(self.trust) and exchange.progress >= self._warmup

    def _w(self, exchange: Exchange, peer: str) -> Tensor:
        """(views, N): p_t(y | x')^b."""
        p = F.softmax(exchange.teacher_logits(self.teacher, peer), -1)
        return p.gather(-1, exchange.labels.expand(p.shape[:-1]).unsqueeze(-1)).squeeze(-1).pow(self.trust)

    def _introspection(self, exchange: Exchange, peer: str) -> Tensor:
        """(views, N): (1 - w) KL(p_s(x) || p_s(x'))."""
        own = kl_divergence(exchange.logits(peer, CLEAN), exchange.logits(peer, peer))
        return (1.0 - self._w(exchange, peer)) * own

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One student and two, the teachers."""
        return roles.example_students(self.teacher, *([] if self.standard is None else [self.standard]))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """IAD-I, IAD-II and AdaIAD, without warm-up so that everything counts, and with it."""
        return (
            cls(),
            cls(warmup=0.0, alpha=0.9),
            cls(standard="standard", warmup=0.0, temperature=2.0),
            cls(adaptive=True, warmup=0.0, temperature=30.0),
            cls(adaptive=True, crafting="attack"),
        )
