"""MTARD: a robust and a natural teacher, balanced by how much the student has learnt from each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

import matx
from matx.errors import OptionError
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss, State
from matx.interfaces import Neutral
from matx.losses import kl_divergence
from registry.strategies import _cast


@matx.strategies.register("mtard")
@dataclass(frozen=True, kw_only=True)
class Mtard:
    """Multi-teacher adversarial robustness distillation (Zhao et al. 2022, ECCV) from two frozen teachers.

    L_s = ((1 - w) / C) KL(p_rob(x') || p_s(x')) + (w / C) KL(p_nat(x) || p_s(x)),
    w <- w - rate (w - r_nat / (r_rob + r_nat)),  r = (this batch's KL / the first batch's)^power,

    where w, the natural teacher's weight, starts at 1/2 and is moved before it is used, as released. Published rate
    0.025, power 1, the rate times 0.1 at epochs 215, 260 and 285 of 300 (`milestones`, shares of training), with the
    element-wise mean of KL, hence the division by the classes C. The released code adds 1e-5 inside the teachers'
    logarithms, which we leave out: it shifts the recorded KLs a little and with them w. Examples climb the
    cross-entropy (the attack's own default). Every peer that is not frozen is a student with a weight of its own.
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = False

    robust: str = "robust"
    """The name of the robust teacher, a frozen peer."""
    natural: str = "natural"
    """The name of the natural teacher, a frozen peer."""
    rate: float = 0.025
    """How fast the weights move; 0: both stay 1/2."""
    power: float = 1.0
    """The exponent of the ratios."""
    milestones: Sequence[float] = (215 / 300, 260 / 300, 285 / 300)
    """Shares of training at which the rate is multiplied by `factor`."""
    factor: float = 0.1
    """What the rate is multiplied by."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        _cast.check_shares("mtard", rate=self.rate)
        _cast.check_weights("mtard", power=self.power, factor=self.factor)
        for share in self.milestones:
            if not 0.0 <= share <= 1.0:
                raise OptionError(f"strategies.mtard.milestones: got {share}, allowed: shares of training, 0 to 1")

    def start(self) -> State:
        """Empty: a student's weight is 1/2 and its first losses are those of its first batch."""
        return {}

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """The students' own examples and clean images, and a teacher's answer to each."""
        _cast.frozen_roles("mtard", peers, robust=self.robust, natural=self.natural)
        students = _cast.learners(peers)
        _cast.check_attacked("mtard", students)
        return Needs(
            train={student.name: (student.name, CLEAN) for student in students},
            teach=frozenset({(self.natural, CLEAN)} | {(self.robust, student.name) for student in students}),
        )

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """The two divergences by their moving weights."""
        robust = kl_divergence(exchange.answer(self.robust, peer), exchange.logits(peer, peer)).mean()
        natural = kl_divergence(exchange.answer(self.natural, CLEAN), exchange.logits(peer, CLEAN)).mean()
        weight, state = self._moved(exchange, peer, robust.detach(), natural.detach())
        loss = _cast.composed(
            robust=(1.0 - weight) / exchange.num_classes * robust, natural=weight / exchange.num_classes * natural
        )
        return replace(loss, terms={**loss.terms, "natural_weight": weight}, state=state)

    def _moved(self, exchange: Exchange, peer: str, robust: Tensor, natural: Tensor) -> tuple[Tensor, State]:
        """The natural teacher's weight after this batch, and the state that remembers it."""
        keys = [f"{peer}.{name}" for name in ("weight", "first_robust", "first_natural")]
        old, state = exchange.state.get(keys[0], 0.5), exchange.state
        first_robust, first_natural = state.get(keys[1], robust), state.get(keys[2], natural)
        gap = _log(natural) - _log(first_natural) - _log(robust) + _log(first_robust)
        rate = self.rate * self.factor ** sum(exchange.progress >= share for share in self.milestones)
        weight = torch.as_tensor(old - rate * (old - torch.sigmoid(self.power * gap)))
        return weight, dict(zip(keys, (weight, first_robust, first_natural), strict=True))

    def casts(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One student and two, two teachers."""
        return _cast.taught_casts(self.robust, self.natural)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As published, and with fixed weights."""
        return (cls(), cls(rate=0.0), cls(power=2.0, milestones=(0.5,)))


def _log(value: Tensor | float) -> Tensor:
    """log, finite where a divergence is 0."""
    return torch.as_tensor(value).clamp_min(1e-12).log()
