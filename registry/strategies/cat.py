"""Collaborative adversarial training: two peers of different styles compare predictions on both's examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from torch import Tensor

import matx
from matx import roles
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, Model, Neutral, Objective
from matx.losses import kl_divergence, mse
from matx.options import Range
from registry.strategies import _objectives
from registry.strategies._losses import label_loss


@matx.strategies.register("cat")
@dataclass(frozen=True, kw_only=True)
class CAT:
    """Collaborative adversarial training (Liu et al. 2023, arXiv 2303.14922) of f (TRADES) and g (logit pairing).

    L_f = (1 - exchange) [CE(f(x), y) + beta KL(p_f(x) || p_f(u))] + exchange KL(p_g(u) || p_f(u))
    L_g = (1 - exchange) [(CE(g(v), y) + CE(g(x), y)) / 2 + MSE(g(v), g(x))] + exchange KL(p_f(v) || p_g(v))

    with u = f's examples and v = g's; the other's logits are detached, so that one backward of the sum, as published,
    is one backward each. Published: exchange 19/20, beta 6, temperature 1. KL sums over classes, MSE is the mean over
    classes, both means over batch and views. u maximises KL(p_f(x) || p_f(u)) and v the cross-entropy (g's attack's own
    objective).
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = False

    trades: str = "trades"
    """The name of f."""
    pairing: str = "pairing"
    """The name of g."""
    exchange: Annotated[float, Range(0, 1)] = 0.95
    """The share of the other's predictions."""
    beta: Annotated[float, Range(0)] = 6.0
    """TRADES's weight in f's own loss."""
    crafting: Literal["published", "attack"] = "published"
    """What f's attacks maximise: 'published' (KL to the clean prediction) or 'attack' (the attack's own objective)."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Both on their own examples and clean images, and each one's logits on the other's examples."""
        roles.check_trained_roles("cat", peers, trades=self.trades, pairing=self.pairing)
        roles.check_attacked("cat", roles.trained(peers))
        return Needs(
            train={peer.name: (peer.name, CLEAN) for peer in roles.trained(peers)},
            teach=frozenset({(self.pairing, self.trades), (self.trades, self.pairing)} if self.exchange else ()),
            craft={self.trades: ()} if self.crafting == "published" else {},
        )

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """KL(p_f(x) || p_f(u))."""
        return _objectives.kl_from(_objectives.clean_logits(models[peer], given), models[peer])

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """The peer's own loss in its style, and the divergence from the other's prediction."""
        own = self._trades(exchange) if peer == self.trades else self._pairing(exchange)
        if not self.exchange:
            return PeerLoss.of(own=own)
        other = self.pairing if peer == self.trades else self.trades
        divergence = kl_divergence(exchange.teacher_logits(other, peer), exchange.logits(peer, peer)).mean()
        return PeerLoss.of(own=(1.0 - self.exchange) * own, exchange=self.exchange * divergence)

    def _trades(self, exchange: Exchange) -> Tensor:
        clean, adversarial = exchange.logits(self.trades, CLEAN), exchange.logits(self.trades, self.trades)
        return label_loss(exchange, self.trades, CLEAN) + self.beta * kl_divergence(clean, adversarial).mean()

    def _pairing(self, exchange: Exchange) -> Tensor:
        clean, adversarial = exchange.logits(self.pairing, CLEAN), exchange.logits(self.pairing, self.pairing)
        labels = label_loss(exchange, self.pairing, CLEAN) + label_loss(exchange, self.pairing, self.pairing)
        return 0.5 * labels + mse(adversarial, clean).mean()

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """The two, in either order, also with two views."""
        f, g = roles.example_peer(self.trades, "linf"), roles.example_peer(self.pairing, "linf")
        return ((f, g), (g, f), (roles.example_peer(self.trades, "linf", "l2"), g))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As published, and with other names and weights."""
        return (cls(), cls(trades="a", pairing="b", exchange=0.5, beta=1.0, crafting="attack"))
