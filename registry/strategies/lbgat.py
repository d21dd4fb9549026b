"""LBGAT: a natural network's boundary guides a robust one, both trained at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import matx
from matx import roles
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, Model, Neutral, Objective
from matx.losses import kl_divergence, mse
from matx.options import Range
from registry.strategies import _objectives, _pair
from registry.strategies._losses import label_loss


@matx.strategies.register("lbgat")
@dataclass(frozen=True, kw_only=True)
class LBGAT:
    """LBGAT (Cui et al. 2021, ICCV, arXiv 2011.11164): natural network N and robust network R, coupled.

    L_N = CE(N(x), y),   L_R = MSE(R(x'), N(x)) + beta KL(p_R(x) || p_R(x')).

    The gradient of their sum reaches both through the MSE, which is the mean over classes of squared differences of
    logits; KL sums over classes; both means over batch and views, as released. Published beta 0 or 6 (the released
    script's default). One optimizer in the released code; here each peer has its own (declare them alike). x' maximises
    KL(p_R(x) || p_R(x')), published from x + 0.001 N(0,1), 10 steps of 0.007 in linf 0.031.
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = False

    natural: str = "natural"
    """The name of N."""
    robust: str = "robust"
    """The name of R."""
    beta: Annotated[float, Range(0)] = 6.0
    """Weight of R's own divergence."""
    crafting: Literal["published", "attack"] = "published"
    """What attacks maximise: 'published' (KL to R's clean prediction) or 'attack' (the attack's own objective)."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """N on clean images; R on its examples, and on clean images for the divergence."""
        return Needs(
            train=_pair.train_of("lbgat", peers, self.natural, self.robust, robust_clean=bool(self.beta)),
            craft={self.robust: ()} if self.crafting == "published" else {},
            couples=((self.natural, self.robust),),
        )

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """KL(p_R(x) || p_R(x'))."""
        return _objectives.kl_from(_objectives.clean_logits(models[peer], given), models[peer])

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """N's cross-entropy, or R's guidance and divergence."""
        if peer == self.natural:
            return PeerLoss.of(label=label_loss(exchange, peer, CLEAN))
        adversarial = exchange.logits(peer, peer)
        terms = {"guidance": mse(adversarial, exchange.logits(self.natural, CLEAN)).mean()}
        if self.beta:
            terms["divergence"] = self.beta * kl_divergence(exchange.logits(peer, CLEAN), adversarial).mean()
        return PeerLoss.of(**terms)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """The two, in either order, also with two views."""
        return roles.example_pairs(self.natural, self.robust)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Both published weights."""
        return (cls(), cls(beta=0.0, crafting="attack"))
