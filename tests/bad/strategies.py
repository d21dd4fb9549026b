"""Bad strategies; each is plain adversarial training with one fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, FreeObjective, Model, Neutral, Objective
from matx.losses import cross_entropy
from matx.threat import ThreatModel

LINF = (ThreatModel(norm="linf", eps="8/255"),)


@dataclass(frozen=True, kw_only=True)
class Bad:
    """Cross-entropy on own examples, but something is wrong."""

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = True
    memory: list[Any] = field(default_factory=list)

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return Needs(train={peer.name: (peer.name,) for peer in peers if not peer.frozen})

    def total(self, exchange: Exchange, peer: str) -> Tensor:
        return cross_entropy(exchange.logits(peer, peer), exchange.labels).mean()

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        return PeerLoss(total=self.total(exchange, peer))

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        return (tuple(PeerInfo(name=name, threats=LINF, views=1) for name in ("a", "b", "c")),)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Any]:
        return [cls()]


class TrainingOneOnly(Bad):
    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return Needs(train={peers[0].name: (peers[0].name,)})


class AskingForNobody(Bad):
    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return Needs(train={peer.name: (peer.name,) for peer in peers}, teach=frozenset({("nobody", CLEAN)}))


class AskingForAnAverage(Bad):
    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return Needs(train={peer.name: (peer.name,) for peer in peers}, ema=frozenset({(peers[0].name, CLEAN)}))


class AskingWhoWon(Bad):
    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return Needs(train={peer.name: (peer.name,) for peer in peers}, winners=frozenset({peers[0].name}))


class PromisingAnObjective(Bad):
    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return Needs(train={peer.name: (peer.name,) for peer in peers}, craft={peers[0].name: ()})


class PeekingAtOthers(Bad):
    def total(self, exchange: Exchange, peer: str) -> Tensor:
        return super().total(exchange, peer) + exchange.teacher_logits("a", "b").mean()


class PerSample(Bad):
    def total(self, exchange: Exchange, peer: str) -> Tensor:
        return cross_entropy(exchange.logits(peer, peer), exchange.labels)[0]


class NotANumber(Bad):
    def total(self, exchange: Exchange, peer: str) -> Tensor:
        return super().total(exchange, peer) / exchange.progress


class Detached(Bad):
    def total(self, exchange: Exchange, peer: str) -> Tensor:
        return super().total(exchange, peer).detach()


class AboutNothing(Bad):
    """A gradient that is exactly zero: the loss says nothing to the peer."""

    def total(self, exchange: Exchange, peer: str) -> Tensor:
        return 0.0 * super().total(exchange, peer)


class LogOfSoftmax(Bad):
    def total(self, exchange: Exchange, peer: str) -> Tensor:
        p = exchange.logits(peer, peer).softmax(-1)
        return -p.log().mean()


class Remembering(Bad):
    def total(self, exchange: Exchange, peer: str) -> Tensor:
        self.memory.append(0)
        return super().total(exchange, peer) * (1.0 + 0.1 * len(self.memory))


class Writing(Bad):
    def total(self, exchange: Exchange, peer: str) -> Tensor:
        exchange.logits(peer, peer).data.mul_(0.5)
        return super().total(exchange, peer)


class FalselyNeutral(Bad):
    neutral = Neutral(settings={}, equals="independent")

    def total(self, exchange: Exchange, peer: str) -> Tensor:
        return 1.5 * super().total(exchange, peer)


class FalselyTrueInValue(Bad):
    """The same value as plain training, another gradient."""

    neutral = Neutral(settings={}, equals="independent")

    def total(self, exchange: Exchange, peer: str) -> Tensor:
        loss = super().total(exchange, peer)
        return 2.0 * loss - loss.detach()


class ByName(Bad):
    def total(self, exchange: Exchange, peer: str) -> Tensor:
        return super().total(exchange, peer) * (2.0 if peer == "a" else 1.0)


class ByPlace(Bad):
    def total(self, exchange: Exchange, peer: str) -> Tensor:
        return super().total(exchange, peer) * (2.0 if peer == exchange.peers[0].name else 1.0)


@dataclass(frozen=True, kw_only=True)
class Stateful(Bad):
    """Keeps a state; `fault` says how badly."""

    fault: str = ""

    def start(self) -> Mapping[str, Tensor]:
        return {"count": torch.zeros(())}

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        total = self.total(exchange, peer)
        value: Any = torch.ones(())
        if self.fault == "clash":
            value = torch.tensor(float(ord(peer)))
        elif self.fault == "graph":
            value = total
        elif self.fault == "kind":
            value = [1]
        elif self.fault == "place":
            exchange.state["count"].add_(1)
        return PeerLoss(total=total, state={"count": value})


class OverTheBatch(Bad):
    """An objective of each sample that depends on the others."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return Needs(train={peer.name: (peer.name,) for peer in peers}, craft={peers[0].name: ()})

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        def spread(images: Tensor) -> Tensor:
            values = models[peer](images).sum(-1)
            return values - values.mean()

        return FreeObjective(spread)


class HoldingItsGraph(Bad):
    """Adds its last loss to this one: it works once."""

    def total(self, exchange: Exchange, peer: str) -> Tensor:
        loss = super().total(exchange, peer) + sum(self.memory)
        self.memory.append(loss)
        return loss


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    ("declares_what_exists", TrainingOneOnly, "trains a; the peers that are not frozen: a, b, c"),
    ("declares_what_exists", AskingForNobody, "needs peer 'nobody'"),
    ("declares_what_exists", AskingForAnAverage, "keeps none"),
    ("declares_what_exists", AskingWhoWon, "needs the winners of 'a'"),
    ("declares_what_exists", PromisingAnObjective, "no method `objective`"),
    ("gives_a_finite_loss_a_peer", PeekingAtOthers, "did not declare"),
    ("gives_a_finite_loss_a_peer", PerSample, "not one number"),
    ("gives_a_finite_loss_a_peer", NotANumber, "is inf"),
    ("gives_a_finite_loss_a_peer", Detached, "has no gradient"),
    ("reaches_its_own_logits", AboutNothing, "does not reach its own logits"),
    ("survives_sure_and_equal_logits", LogOfSoftmax, "not finite for very large logits"),
    ("has_no_side_effects", Remembering, "another loss the second time"),
    ("has_no_side_effects", Writing, "changes the exchange"),
    ("equals_its_neutral_setting", FalselyNeutral, "the losses are"),
    ("equals_its_neutral_setting", FalselyTrueInValue, "the gradients differ"),
    ("treats_names_alike", ByName, "depends on names or order"),
    ("treats_names_alike", ByPlace, "depends on names or order"),
    ("keeps_its_state_in_the_open", lambda: Stateful(fault="clash"), "write different values to 'count'"),
    ("keeps_its_state_in_the_open", lambda: Stateful(fault="graph"), "keeps a graph in 'count'"),
    ("keeps_its_state_in_the_open", lambda: Stateful(fault="kind"), "keeps list 'count'"),
    ("keeps_its_state_in_the_open", lambda: Stateful(fault="place"), "changes 'count' of its state in place"),
    ("objective_selects_rows", OverTheBatch, "for some of the samples than for all"),
    ("runs_in_the_engine", HoldingItsGraph, "second time"),
    ("runs_in_the_engine", Remembering, "when the same steps are run again"),
    ("runs_in_the_engine", AboutNothing, "where it was"),
]
"""(contract, a component that breaks it, words of the sentence)."""
