"""MART: misclassified examples count more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import torch.nn.functional as F
from torch import Tensor

import matx
from matx import roles
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.losses import kl_divergence
from matx.options import Range
from registry.strategies._losses import label_loss


@matx.strategies.register("mart")
@dataclass(frozen=True, kw_only=True)
class MART:
    """MART (Wang et al. 2020, ICLR, openreview rklOg6EFwS).

    L_i = CE(f_i(x'_i), y) - margin log(1.0001 - max_{k != y} p_k(x'_i)) + beta KL(p_i(x) || p_i(x'_i)) (1 - p_y(x)),

    the gradient through everything; beta 6 in the released code. KL sums over classes, means over batch and views.
    Examples maximise cross-entropy (the attack's own default; published from x + 0.001 N(0,1), 10 steps of 0.007 in
    linf 0.031). The released code guards its logarithms with 1e-12 and writes 1.0000001 - p_y, which we leave out.
    """

    neutral: ClassVar[Neutral | None] = Neutral(settings={"beta": 0.0, "margin": 0.0}, equals="independent")
    symmetric: ClassVar[bool] = True

    beta: Annotated[float, Range(0)] = 6.0
    """Weight of the divergence between the clean and the adversarial prediction."""
    margin: Annotated[float, Range(0)] = 1.0
    """Weight of the second half of the boosted cross-entropy; 1 as published."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Own examples, and clean images for the divergence."""
        trained = roles.trained(peers)
        roles.check_attacked("mart", trained)
        return Needs(train={peer.name: (peer.name, CLEAN) if self.beta else (peer.name,) for peer in trained})

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Boosted cross-entropy and the weighted divergence."""
        adversarial = exchange.logits(peer, peer)
        terms = {"label": label_loss(exchange, peer, peer)}
        if self.margin:
            rival = _largest_other(F.softmax(adversarial, -1), exchange.labels)
            terms["margin"] = -self.margin * (1.0001 - rival).log().mean()
        if self.beta:
            clean = exchange.logits(peer, CLEAN)
            uncertainty = 1.0 - F.softmax(clean, -1).gather(-1, exchange.labels[None, :, None]).squeeze(-1)
            terms["divergence"] = self.beta * (kl_divergence(clean, adversarial) * uncertainty).mean()
        return PeerLoss.of(**terms)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One peer, and several."""
        return roles.example_peers(1, 2)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As published, and without the margin."""
        return (cls(), cls(beta=2.0, margin=0.0))


def _largest_other(p: Tensor, labels: Tensor) -> Tensor:
    """(views, N): the largest probability of a class that is not the label."""
    index = labels.expand(p.shape[:-1]).unsqueeze(-1)
    return p.scatter(-1, index, -1.0).amax(-1)
