"""Peers agree on their different examples: a symmetric divergence, coupled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx import roles
from matx.errors import OptionError
from matx.exchange import Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, LogitObjective, Model, Neutral, Objective
from matx.losses import cross_entropy, kl_divergence
from matx.options import Range
from registry.strategies import _objectives
from registry.strategies._losses import label_loss


@matx.strategies.register("agree")
@dataclass(frozen=True, kw_only=True)
class Agree:
    """Mutual adversarial training by agreement, as found in an unnamed public two-network code.

    sum_i L_i = sum_i CE(f_i(x'_i), y) + weight sum_{i < j} [ KL(p_i(x'_i) || p_j(x'_j)) + KL(p_j(x'_j) || p_i(x'_i)) ],

    the gradient through both sides; each pair's term is shared by halves between its two losses. The code has two
    networks and weight 1 (written as twice the symmetric KL). KL sums over classes, means over batch and views, which
    are compared one by one. Its crafting is a joint ascent of CE(f_1(x_1)) + CE(f_2(x_2)) + the pair's term over both
    images; here each peer's attack maximises its share with the others' logits fixed at the clean image, which is one
    sweep of coordinate ascent from where the joint one starts.
    """

    neutral: ClassVar[Neutral | None] = Neutral(settings={"weight": 0.0, "crafting": "attack"}, equals="independent")
    symmetric: ClassVar[bool] = True

    weight: Annotated[float, Range(0)] = 1.0
    """Weight of both directions of a pair's divergence."""
    crafting: Literal["published", "attack"] = "published"
    """What attacks maximise: 'published' (labels and disagreement) or 'attack' (the attack's own objective)."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Everyone's own examples, all coupled."""
        trained = roles.trained(peers)
        if len(trained) < 2:
            raise OptionError("", owner="strategies.agree", got=f"{len(trained)} trained peer", allowed="2 or more")
        roles.check_attacked("agree", trained)
        if len({peer.views for peer in trained}) > 1:
            found = ", ".join(f"{peer.name} {peer.views}" for peer in trained)
            raise OptionError(
                "", owner="strategies.agree", got=f"peers with different numbers of views ({found})", allowed="the same"
            )
        names = tuple(peer.name for peer in trained)
        others = {name: tuple(other for other in names if other != name) for name in names}
        return Needs(
            train={name: (name,) for name in names},
            craft=others if self.weight and self.crafting == "published" else {},
            couples=(names,) if self.weight else (),
        )

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """CE(f_i(x'), y) + weight times the divergence, both ways, from each other's clean prediction."""
        others = [_objectives.clean_logits(model, given) for name, model in models.items() if name != peer]
        tensors = {"labels": given.labels, "others": torch.stack(others, 1)}
        return LogitObjective(models[peer], partial(_labels_and_disagreement, weight=self.weight), tensors)

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Own cross-entropy and half of every pair's divergence."""
        label, own = label_loss(exchange, peer, peer), exchange.logits(peer, peer)
        if not self.weight:
            return PeerLoss.of(label=label)
        names = [other.name for other in roles.trained(exchange.peers) if other.name != peer]
        others = [exchange.logits(name, name) for name in names]
        apart = torch.stack([both_ways(own, other).mean() for other in others]).sum()
        return PeerLoss.of(label=label, agreement=0.5 * self.weight * apart)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """Two and three peers."""
        return roles.example_peers(2, 3)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As found, and on the attack's own objective."""
        return (cls(), cls(weight=0.5, crafting="attack"))


def both_ways(first: Tensor, second: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p)."""
    return kl_divergence(first, second) + kl_divergence(second, first)


def _labels_and_disagreement(logits: Tensor, labels: Tensor, others: Tensor, weight: float) -> Tensor:
    """The labels' loss and the disagreement with the others' fixed logits (N, others, classes)."""
    return cross_entropy(logits, labels) + weight * both_ways(logits[:, None], others).sum(1)
