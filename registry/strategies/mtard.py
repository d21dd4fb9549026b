"""MTARD: a robust and a natural teacher, balanced by how much the student has learnt from each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor

import matx
from matx import roles
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss, State
from matx.interfaces import Neutral
from matx.losses import kl_divergence
from matx.options import Range


@matx.strategies.register("mtard")
@dataclass(frozen=True, kw_only=True)
class MTARD:
    """Multi-teacher adversarial robustness distillation (Zhao et al. 2022, ECCV) from two frozen teachers.

    L_s = ((1 - w) / C) KL(p_rob(x') || p_s(x')) + (w / C) KL(p_nat(x) || p_s(x)),
    w <- w - rate (w - r_nat / (r_rob + r_nat)),  r = (this batch's KL / the first batch's)^power,

    where w, the natural teacher's weight, starts at 1/2 and is moved before it is used, as released. Published rate
    0.025, power 1, the rate times 0.1 at epochs 215, 260 and 285 of 300 (`milestones`, shares of training), with the
    element-wise mean of KL, hence the division by the classes C. The released code adds 1e-5 inside the teachers'
    logarithms, which we leave out: it shifts the recorded KLs a little and with them w. Examples maximise the
    cross-entropy (the attack's own default). Every peer that is not frozen is a student with a weight of its own.

    B-MTARD (`balanced`; Zhao et al. 2024, TPAMI, arXiv 2306.16170) softens the teachers, p_rob^T_rob and p_nat^T_nat
    (never the student), until they are equally sure. After each batch, with H the mean entropy of a softened teacher,
    T_rob <- T_rob - s sign(H_rob - H_nat) and T_nat <- T_nat - s sign(H_nat - H_rob), clamped to 1 to 10, from 1; the
    step s is `temperature_rate`, published 0.001, and is multiplied by `factor` at the milestones too.
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = False
    averages_state: ClassVar[bool] = True
    """Weights and temperatures of several processes are averaged; each follows the divergences of its own images."""

    robust: str = "robust"
    """The name of the robust teacher, a frozen peer."""
    natural: str = "natural"
    """The name of the natural teacher, a frozen peer."""
    rate: Annotated[float, Range(0, 1)] = 0.025
    """How fast the weights move; 0: both stay 1/2."""
    power: Annotated[float, Range(0)] = 1.0
    """The exponent of the ratios."""
    milestones: Sequence[Annotated[float, Range(0, 1)]] = (215 / 300, 260 / 300, 285 / 300)
    """Shares of training at which the rate is multiplied by `factor`."""
    factor: Annotated[float, Range(0)] = 0.1
    """What the rates are multiplied by."""
    balanced: bool = False
    """True: B-MTARD, with temperatures that balance the teachers' entropies."""
    temperature_rate: Annotated[float, Range(0)] = 0.001
    """How far a temperature moves at a step, for B-MTARD."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))

    def start(self) -> State:
        """Empty: a student's weight is 1/2, its first losses are those of its first batch, temperatures are 1."""
        return {}

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """The students' own examples and clean images, and a teacher's logits on each."""
        roles.check_frozen_roles("mtard", peers, robust=self.robust, natural=self.natural)
        students = roles.trained(peers)
        roles.check_attacked("mtard", students)
        return Needs(
            train={student.name: (student.name, CLEAN) for student in students},
            teach=frozenset({(self.natural, CLEAN)} | {(self.robust, student.name) for student in students}),
        )

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """The two divergences by their moving weights."""
        targets = exchange.teacher_logits(self.robust, peer), exchange.teacher_logits(self.natural, CLEAN)
        softened = [target / exchange.state.get(key, 1.0) for key, target in zip(_keys(peer), targets, strict=True)]
        robust = kl_divergence(softened[0], exchange.logits(peer, peer)).mean()
        natural = kl_divergence(softened[1], exchange.logits(peer, CLEAN)).mean()
        weight, state = self._moved(exchange, peer, robust.detach(), natural.detach())
        loss = PeerLoss.of(
            robust=(1.0 - weight) / exchange.num_classes * robust, natural=weight / exchange.num_classes * natural
        )
        terms = {**loss.terms, "natural_weight": weight}
        if self.balanced:
            state |= self._tempered(exchange, peer, *softened)
            terms |= {key.partition(".")[2]: torch.as_tensor(state[key]) for key in _keys(peer)}
        return replace(loss, terms=terms, state=state)

    def _moved(
        self, exchange: Exchange, peer: str, robust: Tensor, natural: Tensor
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """The natural teacher's weight after this batch, and the state that remembers it."""
        keys = [f"{peer}.{name}" for name in ("weight", "first_robust", "first_natural")]
        old, state = exchange.state.get(keys[0], 0.5), exchange.state
        first_robust, first_natural = state.get(keys[1], robust), state.get(keys[2], natural)
        gap = _log(natural) - _log(first_natural) - _log(robust) + _log(first_robust)
        weight = torch.as_tensor(old - self._falling(self.rate, exchange) * (old - torch.sigmoid(self.power * gap)))
        return weight, dict(zip(keys, (weight, first_robust, first_natural), strict=True))

    def _tempered(self, exchange: Exchange, peer: str, robust: Tensor, natural: Tensor) -> dict[str, Tensor | float]:
        """The temperatures for the next batch, from the softened logits of this one."""
        lead = torch.sign(_entropy(robust) - _entropy(natural)) * self._falling(self.temperature_rate, exchange)
        old = [torch.as_tensor(exchange.state.get(key, 1.0), device=lead.device) for key in _keys(peer)]
        return {key: (t - s * lead).clamp(1.0, 10.0) for key, t, s in zip(_keys(peer), old, (1.0, -1.0), strict=True)}

    def _falling(self, rate: float, exchange: Exchange) -> float:
        """A rate by the milestones that are past."""
        return rate * self.factor ** sum(exchange.progress >= share for share in self.milestones)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One student and two, two teachers."""
        return roles.example_students(self.robust, self.natural)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """MTARD as published, and with fixed weights; B-MTARD."""
        return (cls(), cls(rate=0.0), cls(power=2.0, milestones=(0.5,)), cls(balanced=True, temperature_rate=0.1))


def _log(value: Tensor | float) -> Tensor:
    """log, finite where a divergence is 0."""
    return torch.as_tensor(value).clamp_min(1e-12).log()


def _keys(peer: str) -> tuple[str, str]:
    """Where the state keeps the temperatures of a student's teachers, the robust one's first."""
    return f"{peer}.robust_temperature", f"{peer}.natural_temperature"


def _entropy(logits: Tensor) -> Tensor:
    """Of the predictions, the mean over views and samples."""
    return -(torch.softmax(logits, -1) * torch.log_softmax(logits, -1)).sum(-1).mean()
