"""D2R: dual regularisation between a guide and a robust network, both trained at once."""

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


@matx.strategies.register("d2r")
@dataclass(frozen=True, kw_only=True)
class D2R:
    """D2R with collaborative generation (Liu et al. 2025, arXiv 2506.07056): guide G and robust network R, coupled.

    L_G = CE(G(x), y)
    L_R = MSE(R(x'), G(x)) + (balance / C) |KL(p_R(x) || p_G(x)) - KL(p_G(x) || p_R(x))|
          + (divergence / C) KL(p_R(x') || p_G(x)),

    each KL a batch mean before the difference. The gradient of the sum reaches both networks. Published balance 20 and
    divergence 30 with the element-wise mean of KL, hence the division by the classes C (2 and 3 on CIFAR-10). The
    released code adds 1e-5 inside the logarithm of the first argument, which we leave out, and has one optimizer. MSE
    is the mean over classes. x' maximises KL(p_G(x) || p_R(x')), published 10 steps of 0.007 in linf 0.031.
    """

    neutral: ClassVar[Neutral | None] = Neutral(
        settings={"natural": "natural", "robust": "robust", "balance": 0.0, "divergence": 0.0, "crafting": "attack"},
        equals="lbgat",
        others={"beta": 0.0, "crafting": "attack"},
    )
    symmetric: ClassVar[bool] = False

    natural: str = "natural"
    """The name of G."""
    robust: str = "robust"
    """The name of R."""
    balance: Annotated[float, Range(0)] = 20.0
    """Weight of the difference between the two directions on clean images, element-wise as published."""
    divergence: Annotated[float, Range(0)] = 30.0
    """Weight of the divergence on examples, element-wise as published."""
    crafting: Literal["published", "attack"] = "published"
    """What attacks maximise: 'published' (KL from the guide's clean prediction) or 'attack' (the attack's own
    objective)."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """G on clean images; R on its examples, and on clean images for the balance."""
        return Needs(
            train=_pair.train_of("d2r", peers, self.natural, self.robust, robust_clean=bool(self.balance)),
            craft={self.robust: (self.natural,)} if self.crafting == "published" else {},
            couples=((self.natural, self.robust),),
        )

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """KL(p_G(x) || p_R(x'))."""
        return _objectives.kl_from(_objectives.clean_logits(models[self.natural], given), models[self.robust])

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """G's cross-entropy, or R's guidance, balance and divergence."""
        if peer == self.natural:
            return PeerLoss.of(label=label_loss(exchange, peer, CLEAN))
        guide, adversarial = exchange.logits(self.natural, CLEAN), exchange.logits(peer, peer)
        terms = {"guidance": mse(adversarial, guide).mean()}
        if self.balance:
            clean = exchange.logits(peer, CLEAN)
            gap = kl_divergence(clean, guide).mean() - kl_divergence(guide, clean).mean()
            terms["balance"] = self.balance / exchange.num_classes * gap.abs()
        if self.divergence:
            apart = kl_divergence(adversarial, guide).mean()
            terms["divergence"] = self.divergence / exchange.num_classes * apart
        return PeerLoss.of(**terms)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """The two, in either order, also with two views."""
        return roles.example_pairs(self.natural, self.robust)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As published, and with one term."""
        return (cls(), cls(balance=0.0, divergence=5.0, crafting="attack"))
