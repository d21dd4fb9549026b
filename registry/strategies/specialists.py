"""Specialists each face one perturbation; a generalist learns from them to face all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from torch import Tensor

import matx
from matx import roles
from matx.errors import OptionError
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.losses import cross_entropy, distillation
from matx.options import Range
from registry.strategies._losses import label_loss


@matx.strategies.register("specialists")
@dataclass(frozen=True, kw_only=True)
class Specialists:
    """Generalist and specialists of mutual adversarial training (Liu et al. 2022, IEEE TIFS 17, 2364-2377).

    Generalist g:    L_g = c CE(f_g(x), y) + sum_s w_s A_s,
                     A_s = (1 - alpha) CE(f_g(x'), y) + alpha T^2 KL(p_s^T(x') || p_g^T(x')), p_s detached.
    Specialist s:    L_s = CE(f_s(x'_s), y) + feedback T^2 KL(p_g^T(x'_s) || p_s^T(x'_s)), p_g detached.

    w_s are the relative `weights` over their sum (1/S each unless given). `examples_of` says what x' is in A_s:
      specialists  x'_s, crafted on the specialist
      own          x'_g, crafted on the generalist: the views whose threat model is one that s faces. Where the
                   generalist's union keeps fewer views than it has attacks (`worst_case`, `random_choice`, `msd`), a
                   view may come from any threat model, so every specialist teaches on it, by its weight
      both         the mean of the two
    The abstracts say only that a generalist learns from specialists: examples, weights and temperature of the paper
    are not public, the defaults are ours. Means over batch and views (AVG); KL sums over classes (batch mean).

    The generalist is the one trained peer that faces several threat models, or the one named. All others, frozen ones
    (specialists trained before) included, are its specialists.
    """

    neutral: ClassVar[Neutral | None] = Neutral(
        settings={"examples_of": "own", "alpha": 0.0, "clean": 0.0, "feedback": 0.0, "weights": None},
        equals="independent",
    )
    symmetric: ClassVar[bool] = False

    generalist: str | None = None
    """The generalist's name; None: the one trained peer that faces several threat models."""
    examples_of: Literal["specialists", "own", "both"] = "both"
    """Whose examples the generalist learns from: specialists, own or both."""
    alpha: Annotated[float, Range(0, 1)] = 0.5
    """Distillation's share in what the generalist learns."""
    temperature: Annotated[float, Range(0, open="low")] = 1.0
    """T, for both sides of the KL."""
    clean: Annotated[float, Range(0)] = 0.0
    """c, the generalist's weight of the label loss on clean images."""
    weights: Mapping[str, Annotated[float, Range(0)]] | None = None
    """{specialist: relative weight}; those not named have 1, and only ratios count."""
    feedback: Annotated[float, Range(0)] = 0.0
    """Weight of the generalist's predictions in the specialists' losses; 0: plain adversarial training."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """The generalist on its sources, the specialists on their own examples, and logits of teachers that count."""
        generalist, specialists = self._roles(peers)
        self._check(generalist, specialists)
        shares = self._shares(specialists)
        own = (generalist.name,) if self.examples_of != "specialists" else ()
        theirs = tuple(shares) if self.examples_of != "own" else ()
        train = {generalist.name: (*own, *theirs, *([CLEAN] if self.clean else []))}
        train |= {s.name: (s.name,) for s in roles.trained(specialists)}
        teach = set()
        if self.alpha:
            teach |= {(name, generalist.name) for name in shares if own} | {(name, name) for name in theirs}
        if self.feedback:
            teach |= {(generalist.name, s.name) for s in roles.trained(specialists)}
        return Needs(train={p.name: train[p.name] for p in roles.trained(peers)}, teach=frozenset(teach))

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """The generalist's loss over all specialists, or one specialist's own."""
        generalist, specialists = self._roles(exchange.peers)
        if peer != generalist.name:
            return self._specialist(exchange, peer, generalist.name)
        labels, distilled = [], []
        for name, share in self._shares(specialists).items():
            for logits, target, part in self._lessons(exchange, generalist, exchange.info(name)):
                labels.append(share * part * cross_entropy(logits, exchange.labels).mean())
                if target is not None:
                    divergence = distillation(logits, target, temperature=self.temperature).mean()
                    distilled.append(share * part * divergence)
        label = (1.0 - self.alpha) * sum(labels[1:], labels[0])
        terms = {"label": label}
        if distilled:
            terms["distillation"] = self.alpha * sum(distilled[1:], distilled[0])
        if self.clean:
            terms["clean"] = self.clean * label_loss(exchange, peer, CLEAN)
        return PeerLoss.of(**terms)

    def _specialist(self, exchange: Exchange, peer: str, generalist: str) -> PeerLoss:
        label = label_loss(exchange, peer, peer)
        if not self.feedback:
            return PeerLoss.of(label=label)
        logits, target = exchange.logits(peer, peer), exchange.teacher_logits(generalist, peer)
        back = distillation(logits, target, temperature=self.temperature).mean()
        return PeerLoss.of(label=label, feedback=self.feedback * back)

    def _lessons(
        self, exchange: Exchange, generalist: PeerInfo, specialist: PeerInfo
    ) -> list[tuple[Tensor, Tensor | None, float]]:
        """(generalist's logits, specialist's where they count, share) on each kind of examples."""
        part = 0.5 if self.examples_of == "both" else 1.0
        lessons: list[tuple[Tensor, Tensor | None, float]] = []
        if self.examples_of != "specialists":
            rows = matching_views(generalist, specialist)
            logits = exchange.logits(generalist.name, generalist.name)[rows]
            target = exchange.teacher_logits(specialist.name, generalist.name)[rows] if self.alpha else None
            lessons.append((logits, target, part))
        if self.examples_of != "own":
            logits = exchange.logits(generalist.name, specialist.name)
            target = exchange.teacher_logits(specialist.name, specialist.name) if self.alpha else None
            lessons.append((logits, target, part))
        return lessons

    def _roles(self, peers: Sequence[PeerInfo]) -> tuple[PeerInfo, tuple[PeerInfo, ...]]:
        """The generalist and its specialists."""
        if self.generalist is not None:
            generalist = roles.peer_named("strategies.specialists.generalist", self.generalist, roles.trained(peers))
        else:
            several = [peer for peer in roles.trained(peers) if len(set(peer.threats)) > 1]
            if len(several) != 1:
                found = ", ".join(peer.name for peer in several) or "none"
                raise OptionError(
                    "",
                    owner="strategies.specialists",
                    got=f"{found} as peers with several threat models",
                    allowed="exactly one, the generalist; or name it by strategies.specialists.generalist",
                )
            generalist = several[0]
        return generalist, tuple(peer for peer in peers if peer.name != generalist.name)

    def _check(self, generalist: PeerInfo, specialists: Sequence[PeerInfo]) -> None:
        if not specialists:
            raise OptionError(
                "", owner="strategies.specialists", got="no specialist", allowed="one or more beside the generalist"
            )
        for name in self.weights or {}:
            roles.peer_named("strategies.specialists.weights", name, specialists)
        if not any(self._raw(specialist) for specialist in specialists):
            raise OptionError("weights", owner="strategies.specialists", got="only 0", allowed="at least one over 0")
        shared = specialists if self.examples_of != "own" else roles.trained(specialists)
        roles.check_attacked("specialists", shared)
        if self.examples_of != "specialists":
            roles.check_attacked("specialists", [generalist])
            _check_matches(generalist, specialists)

    def _raw(self, specialist: PeerInfo) -> float:
        return (self.weights or {}).get(specialist.name, 1.0)

    def _shares(self, specialists: Sequence[PeerInfo]) -> dict[str, float]:
        """{specialist: w_s}, those of weight 0 left out."""
        total = sum(self._raw(specialist) for specialist in specialists)
        return {s.name: self._raw(s) / total for s in specialists if self._raw(s)}

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """Three specialists and one, a generalist of all views and of one, specialists trained before."""
        name = self.generalist or "generalist"
        three = tuple(roles.example_peer(norm, norm) for norm in ("linf", "l2", "l1"))
        before = tuple(replace(peer, frozen=True) for peer in three)
        every = roles.example_peer(name, "linf", "l2", "l1")
        return (
            (*three, every),
            (roles.example_peer(name, "linf", "l2", "l1", views=1), *three),
            (*before, every),
            (*three[:2], roles.example_peer(name, "linf", "l2")),
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Each source of examples, with feedback, clean term and weights."""
        return (
            cls(examples_of="specialists", temperature=2.0),
            cls(examples_of="own", feedback=0.5, clean=0.5),
            cls(examples_of="both", weights={"linf": 2.0}, alpha=0.7),
        )


def matching_views(generalist: PeerInfo, specialist: PeerInfo) -> list[int]:
    """Which of the generalist's views a specialist teaches on: those of its threat models, else (fewer views) all."""
    if generalist.views != len(generalist.threats):
        return list(range(generalist.views))
    return [view for view, threat in enumerate(generalist.threats) if threat in specialist.threats]


def _check_matches(generalist: PeerInfo, specialists: Sequence[PeerInfo]) -> None:
    known = ", ".join(threat.key for threat in generalist.threats)
    covered: set[int] = set()
    for specialist in specialists:
        rows = matching_views(generalist, specialist)
        covered |= set(rows)
        if not rows:
            faced = ", ".join(threat.key for threat in specialist.threats) or "none"
            raise OptionError(
                "",
                owner="strategies.specialists",
                got=f"specialist {specialist.name!r} with threat models {faced}, none of which the generalist "
                f"{generalist.name!r} faces ({known})",
                allowed="one of those, or examples_of = 'specialists'",
            )
    for view in sorted(set(range(generalist.views)) - covered):
        raise OptionError(
            "",
            owner="strategies.specialists",
            got=f"no specialist for {generalist.threats[view].key}, which the generalist {generalist.name!r} faces",
            allowed="a specialist for each, or examples_of = 'specialists'",
        )
