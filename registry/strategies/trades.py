"""TRADES: natural accuracy plus a smooth neighbourhood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import matx
from matx import roles
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, Model, Neutral, Objective
from matx.losses import kl_divergence
from matx.options import Range
from registry.strategies import _objectives
from registry.strategies._losses import label_loss


@matx.strategies.register("trades")
@dataclass(frozen=True, kw_only=True)
class TRADES:
    """TRADES (Zhang et al. 2019, arXiv 1901.08573).

    L_i = CE(f_i(x), y) + beta KL(p_i(x) || p_i(x'_i)), the gradient through both sides; published beta 6.

    KL sums over classes, means over batch and views: the released code's reduction. x'_i maximises KL(p_i(x) ||
    p_i(x')), published from x + 0.001 N(0,1), 10 steps of 0.007 in linf 0.031.
    """

    neutral: ClassVar[Neutral | None] = Neutral(
        settings={"beta": 0.0}, equals="independent", others={"adversarial": 0.0, "clean": 1.0}
    )
    symmetric: ClassVar[bool] = True

    beta: Annotated[float, Range(0)] = 6.0
    """Weight of the divergence between the clean and the adversarial prediction."""
    crafting: Literal["published", "attack"] = "published"
    """What attacks maximise: 'published' (KL to the clean prediction) or 'attack' (the attack's own objective)."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Clean images and own examples of every trained peer."""
        trained = roles.trained(peers)
        roles.check_attacked("trades", trained)
        craft = {peer.name: () for peer in trained if self.beta and self.crafting == "published"}
        return Needs(train={peer.name: (peer.name, CLEAN) if self.beta else (CLEAN,) for peer in trained}, craft=craft)

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """KL(p_i(x) || p_i(x'))."""
        return _objectives.kl_from(_objectives.clean_logits(models[peer], given), models[peer])

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Clean cross-entropy and the weighted divergence."""
        clean = label_loss(exchange, peer, CLEAN)
        if not self.beta:
            return PeerLoss.of(clean=clean)
        divergence = kl_divergence(exchange.logits(peer, CLEAN), exchange.logits(peer, peer)).mean()
        return PeerLoss.of(clean=clean, divergence=self.beta * divergence)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One peer, and several."""
        return roles.example_peers(1, 2)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As published, and on the attack's own objective."""
        return (cls(), cls(beta=1.0, crafting="attack"))
