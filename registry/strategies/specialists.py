"""Specialists each face one perturbation; a generalist learns from them to face all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from registry.strategies._lessons import Lesson, check_matches, evenly, matching_views, winners_weights
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
      own          x'_g, crafted on the generalist; `teachers` says which s teach on one of them:
                     winner  those that face the threat model of the attack that it came from: under `average` view k
                             is attack k's, under `worst_case` the attack of the highest loss is each image's (exact
                             ties share). Means are over all images, each by w_s of those who teach on it
                     all     every s, by w_s, where the generalist's union keeps fewer views than it has attacks;
                             else as above, view by view, A_s a mean over the views of s
      both         the mean of the two
    With `labels_where_wrong`, alpha is 0 on an image of which p_s(x') predicts another class than y.
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
    teachers: Literal["winner", "all"] = "winner"
    """Who teaches on the generalist's own examples: winner (needs a union that says its winners) or all."""
    labels_where_wrong: bool = False
    """True: labels alone on images on which the specialist that teaches is wrong."""
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
        return Needs(
            train={p.name: train[p.name] for p in roles.trained(peers)},
            teach=frozenset(teach),
            winners=frozenset([generalist.name] if self._asks_winners() else []),
        )

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """The generalist's loss over all specialists, or one specialist's own."""
        generalist, specialists = self._roles(exchange.peers)
        if peer != generalist.name:
            return self._specialist(exchange, peer, generalist.name)
        labels, distilled = [], []
        for lesson in self._lessons(exchange, generalist, specialists):
            alpha = self._alpha(lesson, exchange.labels)
            loss = cross_entropy(lesson.logits, exchange.labels)
            labels.append((lesson.weights * (1.0 - alpha) * loss).sum())
            if lesson.target is not None:
                divergence = distillation(lesson.logits, lesson.target, temperature=self.temperature)
                distilled.append((lesson.weights * alpha * divergence).sum())
        terms = {"label": sum(labels[1:], labels[0])}
        if distilled:
            terms["distillation"] = sum(distilled[1:], distilled[0])
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

    def _asks_winners(self) -> bool:
        """Where nobody teaches and all weights are equal, it does not matter who won."""
        return self.teachers == "winner" and self.examples_of != "specialists" and bool(self.alpha or self.weights)

    def _alpha(self, lesson: Lesson, labels: Tensor) -> Tensor:
        """Distillation's share in each image's loss, (views, N) or one number."""
        if lesson.target is None or not self.labels_where_wrong:
            return lesson.weights.new_full((), self.alpha)
        return self.alpha * (lesson.target.argmax(-1) == labels).to(lesson.weights.dtype)

    def _lessons(self, exchange: Exchange, generalist: PeerInfo, specialists: Sequence[PeerInfo]) -> Iterator[Lesson]:
        """What each specialist teaches on each kind of examples; all weights together sum to 1."""
        part, shares = 0.5 if self.examples_of == "both" else 1.0, self._shares(specialists)
        if self.examples_of != "specialists":
            logits, faced = exchange.logits(generalist.name, generalist.name), {s.name: s for s in specialists}
            if self._asks_winners():
                own = winners_weights(exchange.winners_of(generalist.name), generalist, faced, shares)
            else:
                own = {n: evenly(logits, w, matching_views(generalist, faced[n])) for n, w in shares.items()}
            for name, weights in own.items():
                target = exchange.teacher_logits(name, generalist.name) if self.alpha else None
                yield Lesson(logits=logits, target=target, weights=part * weights)
        if self.examples_of != "own":
            for name, share in shares.items():
                logits = exchange.logits(generalist.name, name)
                target = exchange.teacher_logits(name, name) if self.alpha else None
                yield Lesson(logits=logits, target=target, weights=evenly(logits, part * share))

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
            check_matches(generalist, specialists)

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
        """Each source of examples, with feedback, clean term and weights, teachers who won and all."""
        return (
            cls(examples_of="specialists", temperature=2.0),
            cls(examples_of="own", feedback=0.5, clean=0.5),
            cls(examples_of="both", weights={"linf": 2.0}, alpha=0.7, labels_where_wrong=True),
            cls(examples_of="both", teachers="all", weights={"linf": 2.0}),
        )
