"""Mutual adversarial training: peers share adversarial examples and teach each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

import matx
from matx import roles
from matx.errors import OptionError
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.losses import distillation
from matx.options import Range
from registry.strategies._losses import label_loss

Reading = Literal["owner", "others", "clean", "examples_only", "answers_only"]


@matx.strategies.register("mat")
@dataclass(frozen=True, kw_only=True)
class MAT:
    """Mutual adversarial training (Liu et al. 2021, arXiv 2112.05005; IEEE TIFS 17, 2022), as a family.

    L_i = c CE(f_i(x), y) + sum_j [ u_ij CE(f_i(x'_j), y) + v_ij T^2 KL(q_ij^T || p_i^T(x'_j)) ],  q detached,

    over the peers j whose examples exist. The abstracts say that peers are trained together, share their adversarial
    examples and distil; the paper's equation, weights and temperature are not public, so every reading is a setting
    and the defaults are ours. Shorthand: u_ij = w_ij (1 - alpha), v_ij = w_ij alpha, with w_ii = 1 - beta for own
    examples and w_ij = beta / (number of other peers with examples) for theirs; `own_label`, `own_distillation`,
    `peer_label` and `peer_distillation` replace u_ii, v_ii and the sums over j != i of u_ij and v_ij.

    `reading` says whose prediction q_ij is, and what is exchanged at all:
      owner (R1)          the owner of the example, p_j(x'_j); hence v_ii = 0 and, unless set, u_ii = w_ii
      others (R2)         the mean of all other peers' p_k(x'_j), k != i
      clean (R3)          the owner's prediction on the clean image, p_j(x); on own examples the mean of the others'
      examples_only (R4)  no teachers: v = 0 and, unless set, u = w
      answers_only (R5)   no others' examples: w_ii = 1 whatever beta says; q_ii is the mean of the others' p_k(x'_i)

    `answers_from` says by which weights a trained peer answers: its own ('live') or their moving average ('average',
    `Peer.ema`); frozen peers answer by their own. With reading 'clean', own_label 0.5, own_distillation 0.1 and no
    peers' examples (`peer_label` = `peer_distillation` = 0) this is the "mutual adversarial training" of team Wilson
    in the NIPS 2018 adversarial vision challenge (walkerning/NIPS2018-AVC-ModelTrack-TeamWilson, mutual_trainer.py:
    theta 0.5, alpha 0.1, T 1), whose mean of divergences from the others differs from the divergence from their mean
    by a constant.

    Losses are means over batch and views (AVG); KL sums over classes (batch mean). A mean of predictions is one of
    softened probabilities. v grows linearly from 0 over the first `warmup` share of training. Frozen peers teach and
    share their examples, if they have attacks, but do not learn. Without any label term (u = c = 0) and without a
    frozen peer all peers can collapse to one constant: refused.
    """

    neutral: ClassVar[Neutral | None] = Neutral(
        settings={
            "alpha": 0.0, "beta": 0.0, "clean": 0.0, "own_label": None, "own_distillation": None, "peer_label": None,
            "peer_distillation": None,
        },
        equals="independent",
    )  # fmt: skip
    symmetric: ClassVar[bool] = True

    alpha: Annotated[float, Range(0, 1)] = 0.5
    """Distillation's share of each weight."""
    beta: Annotated[float, Range(0, 1)] = 0.5
    """The others' examples' share of the weight."""
    temperature: Annotated[float, Range(0, open="low")] = 1.0
    """T, for both sides of the KL."""
    reading: Reading = "owner"
    """Whose prediction is the target, and what is exchanged at all."""
    answers_from: Literal["live", "average"] = "live"
    """By which weights peers that are trained answer: their own, or the moving average of them."""
    clean: Annotated[float, Range(0)] = 0.0
    """c, the weight of the label loss on clean images."""
    warmup: Annotated[float, Range(0, 1)] = 0.0
    """The share of training over which the distillation weights rise from 0."""
    own_label: Annotated[float, Range(0)] | None = None
    """u_ii; None: from alpha and beta, as the next three."""
    own_distillation: Annotated[float, Range(0)] | None = None
    peer_label: Annotated[float, Range(0)] | None = None
    """The sum over j != i of u_ij, shared equally."""
    peer_distillation: Annotated[float, Range(0)] | None = None

    def __post_init__(self) -> None:
        for name in _ABSENT[self.reading]:
            if getattr(self, name):
                raise OptionError(
                    name,
                    got=f"{getattr(self, name)} with reading {self.reading!r}, in which there is no such term",
                    allowed="None, 0, or another reading",
                )

    def weights(self) -> dict[str, float]:
        """{own_label, own_distillation, peer_label, peer_distillation}: u_ii, v_ii, and the others' sums."""
        beta = 0.0 if self.reading == "answers_only" else self.beta
        absent = _ABSENT[self.reading]
        shares = {"own": 1.0 - beta, "peer": beta}
        values = {}
        for whose, share in shares.items():
            has_teacher = f"{whose}_distillation" not in absent
            values[f"{whose}_label"] = share * (1.0 - self.alpha if has_teacher else 1.0)
            values[f"{whose}_distillation"] = share * self.alpha if has_teacher else 0.0
        return {name: getattr(self, name) if getattr(self, name) is not None else v for name, v in values.items()}

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Own and others' examples, clean images and teachers' logits, each where its weight is not 0."""
        self._check(peers)
        train = {}
        asked = set()
        for peer in roles.trained(peers):
            sources = self._sources(peers, peer.name)
            train[peer.name] = (*sources, *([CLEAN] if self.clean else []))
            for source in sources:
                if self._pair(peers, peer.name, source)[1]:
                    asked |= set(self._targets(peers, peer.name, source))
        ema = frozenset(pair for pair in asked if self._averaged(peers, pair[0]))
        return Needs(train=train, teach=frozenset(asked) - ema, ema=ema)

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """The sum over sources of weighted label and distillation losses, and the clean term."""
        label = distilled = torch.zeros((), dtype=torch.float32, device=exchange.labels.device)
        ramp = min(1.0, exchange.progress / self.warmup) if self.warmup else 1.0
        for source in self._sources(exchange.peers, peer):
            u, v = self._pair(exchange.peers, peer, source)
            if u:
                label = label + u * label_loss(exchange, peer, source)
            if v:
                logits = exchange.logits(peer, source)
                targets = [self._answer(exchange, *pair) for pair in self._targets(exchange.peers, peer, source)]
                target = mean_prediction(targets, self.temperature)
                distilled = distilled + v * ramp * distillation(logits, target, temperature=self.temperature).mean()
        terms = {"label": label, "distillation": distilled}
        if self.clean:
            terms["clean"] = self.clean * label_loss(exchange, peer, CLEAN)
        return PeerLoss.of(**terms)

    def _check(self, peers: Sequence[PeerInfo]) -> None:
        if len(peers) < 2:
            raise OptionError(
                "", owner="strategies.mat", got=f"{len(peers)} peer", allowed="2 or more, frozen ones included"
            )
        roles.check_attacked("mat", roles.trained(peers))
        for teacher in roles.frozen(peers):
            if self.reading == "owner" and not teacher.views:
                raise OptionError(
                    "",
                    owner="strategies.mat",
                    got=f"frozen peer {teacher.name!r} without attacks and reading 'owner', in which only "
                    "owners of examples teach",
                    allowed="attacks on it, or reading 'others' or 'clean'",
                )
        if self.answers_from == "average":
            roles.check_averaged("mat", roles.trained(peers))
        weights = self.weights()
        shared = weights["peer_label"] + weights["peer_distillation"]
        for peer in roles.trained(peers):
            if shared and not _owners(peers, peer.name):
                raise OptionError(
                    "",
                    owner="strategies.mat",
                    got=f"no other peer with attacks for {peer.name!r}, though others' examples have the "
                    f"weight {shared}",
                    allowed="attacks on another peer, beta = 0, or reading 'answers_only'",
                )
        if not weights["own_label"] + weights["peer_label"] + self.clean and not roles.frozen(peers):
            raise OptionError(
                "",
                owner="strategies.mat",
                got="no label term (u = c = 0) and no frozen teacher, so that all peers can collapse to one constant",
                allowed="alpha under 1, a weight for labels or clean images, or a frozen peer",
            )
        if not any(weights.values()) and not self.clean:
            raise OptionError("", owner="strategies.mat", got="only weights of 0", allowed="at least one over 0")

    def _averaged(self, peers: Sequence[PeerInfo], peer: str) -> bool:
        """True: it answers by the average of its weights."""
        return self.answers_from == "average" and any(info.name == peer for info in roles.trained(peers))

    def _answer(self, exchange: Exchange, peer: str, source: str) -> Tensor:
        averaged = self._averaged(exchange.peers, peer)
        return (exchange.ema_teacher_logits if averaged else exchange.teacher_logits)(peer, source)

    def _sources(self, peers: Sequence[PeerInfo], peer: str) -> tuple[str, ...]:
        """Whose examples a peer learns from: its own, then the others', where they have any weight."""
        candidates = (peer, *_owners(peers, peer))
        return tuple(source for source in candidates if any(self._pair(peers, peer, source)))

    def _pair(self, peers: Sequence[PeerInfo], peer: str, source: str) -> tuple[float, float]:
        """(u_ij, v_ij)."""
        weights = self.weights()
        if source == peer:
            return weights["own_label"], weights["own_distillation"]
        count = len(_owners(peers, peer))
        return weights["peer_label"] / count, weights["peer_distillation"] / count

    def _targets(self, peers: Sequence[PeerInfo], peer: str, source: str) -> tuple[tuple[str, str], ...]:
        """The (peer, source) logits whose mean prediction is q_ij."""
        others = tuple(other.name for other in peers if other.name != peer)
        if self.reading == "clean":
            return tuple((name, CLEAN) for name in (others if source == peer else (source,)))
        return ((source, source),) if self.reading == "owner" else tuple((name, source) for name in others)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """Two, three and four peers, and two with a frozen one; they keep averages where these answer."""
        teacher = roles.example_peer("teacher", "linf", frozen=True)
        pair = (roles.example_peer("a", "linf"), roles.example_peer("b", "linf"))
        averaged = self.answers_from == "average"
        return tuple(
            tuple(replace(peer, ema=averaged and not peer.frozen) for peer in peers)
            for peers in (*roles.example_peers(2, 3, 4), (*pair, teacher))
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Every reading, answers from averages, free weights, and a warm-up."""
        return (
            *(cls(reading=reading, temperature=2.0) for reading in _ABSENT),
            cls(reading="others", answers_from="average"),
            cls(reading="others", clean=0.5, warmup=0.5, own_label=1.0, own_distillation=0.3, peer_distillation=0.7),
        )


_ABSENT: Mapping[Reading, tuple[str, ...]] = {
    "owner": ("own_distillation",),
    "others": (),
    "clean": (),
    "examples_only": ("own_distillation", "peer_distillation"),
    "answers_only": ("peer_label", "peer_distillation"),
}


def _owners(peers: Sequence[PeerInfo], peer: str) -> tuple[str, ...]:
    return tuple(other.name for other in peers if other.name != peer and other.views)


def mean_prediction(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """Logits whose softmax at this temperature is the mean of these logits' softmaxes at it."""
    if len(logits) == 1:
        return logits[0]
    log_q = torch.stack([F.log_softmax(one / temperature, -1) for one in logits])
    return temperature * (torch.logsumexp(log_q, 0) - math.log(len(logits)))
