"""RAMP's loss: the worst of two norms, and logits paired between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import matx
from matx import roles
from matx.errors import OptionError
from matx.exchange import Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.losses import cross_entropy, kl_divergence
from matx.options import Range
from matx.threat import Norm


@matx.strategies.register("ramp")
@dataclass(frozen=True, kw_only=True)
class RAMP:
    """The loss of RAMP (Jiang and Singh 2024, NeurIPS, arXiv 2402.06827), without its gradient projection.

    L_i = mean_n max(CE(f_i(x'_q), y), CE(f_i(x'_r), y)) + weight mean_{n in gamma} KL(p_i(x'_q) || p_i(x'_r)),

    gamma = the samples that f_i gets right on x'_q; where there is none the second term is 0. q is the view whose norm
    is `key` (published linf) and r the other (l1): a peer faces exactly these two, under the union `average`. The
    gradient reaches both sides, as released. Published weight 2 from scratch (5 in one row), 0.5 in fine-tuning (1.5 is
    the script's default). KL sums over classes, means over gamma. The released code chooses the worse view by the
    attack's best loss in eval mode and forwards it a third time; here the training losses choose.
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = True

    weight: Annotated[float, Range(0)] = 2.0
    """Weight of the pairing of logits."""
    key: Norm = "linf"
    """The norm of x'_q."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Own examples of two views."""
        trained = roles.trained(peers)
        for peer in trained:
            norms = [threat.norm for threat in peer.threats]
            if peer.views != 2 or len(norms) != 2 or norms.count(self.key) != 1:
                raise OptionError(
                    "",
                    owner="strategies.ramp",
                    got=f"peer {peer.name!r} with attacks in {', '.join(norms) or 'no norm'} and {peer.views} views",
                    allowed=f"two attacks, one of them in {self.key}, under the union average",
                )
        return Needs(train={peer.name: (peer.name,) for peer in trained})

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """The worst case's cross-entropy, and the pairing."""
        logits = exchange.logits(peer, peer)
        worst = cross_entropy(logits, exchange.labels).amax(0).mean()
        if not self.weight:
            return PeerLoss.of(label=worst)
        norms = [threat.norm for threat in exchange.info(peer).threats]
        at = norms.index(self.key)
        key, other = logits[at], logits[1 - at]
        right = (key.argmax(-1) == exchange.labels).to(logits.dtype)
        pairing = (kl_divergence(key, other) * right).sum() / right.sum().clamp_min(1.0)
        return PeerLoss.of(label=worst, pairing=self.weight * pairing)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One peer, and two with the views in either order."""
        other: Norm = "l1" if self.key != "l1" else "linf"
        first = roles.example_peer("a", self.key, other)
        return ((first,), (first, roles.example_peer("b", other, self.key)))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As published, and in fine-tuning."""
        return (cls(), cls(weight=0.5, key="l1"))
