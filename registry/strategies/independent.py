"""Plain adversarial training: every peer on its own examples, without teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import matx
from matx import roles
from matx.errors import OptionError
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.options import Range
from registry.strategies._losses import label_loss


@matx.strategies.register("independent")
@dataclass(frozen=True, kw_only=True)
class Independent:
    """Plain adversarial training (Madry et al. 2018, arXiv 1706.06083).

    L_i = adversarial CE(f_i(x'_i), y) + clean CE(f_i(x), y),

    with label smoothing s: CE = -(1-s) log p_y - (s/C) sum_c log p_c.

    Mean over batch and views: under the union `average` this is AVG as the mean of the views' losses and one update
    (Tramer and Boneh 2019, arXiv 1904.13000), under `worst_case` MAX. A peer without attacks learns CE(f_i(x), y),
    whatever the weights.
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = True

    adversarial: Annotated[float, Range(0)] = 1.0
    """Weight of the loss on own examples."""
    clean: Annotated[float, Range(0)] = 0.0
    """Weight of the loss on clean images; with adversarial = 0 it is natural training."""
    smoothing: Annotated[float, Range(0, 1, open="high")] = 0.0
    """Label smoothing, in every term."""

    def __post_init__(self) -> None:
        if not self.adversarial + self.clean:
            raise OptionError("", got="adversarial = clean = 0", allowed="at least one over 0")

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Own examples of every trained peer and clean images, where they count."""
        return Needs(train={peer.name: tuple(self._terms(peer)) for peer in roles.trained(peers)})

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Cross-entropy on own examples and on clean images, by their weights."""
        weights = self._terms(exchange.info(peer))
        names = {CLEAN: "clean", peer: "label"}
        terms = {
            names[source]: weight * label_loss(exchange, peer, source, smoothing=self.smoothing)
            for source, weight in weights.items()
        }
        return PeerLoss.of(**terms)

    def _terms(self, peer: PeerInfo) -> dict[str, float]:
        """{source: weight}, those of weight 0 left out."""
        if not peer.views:
            return {CLEAN: 1.0}
        weights = {peer.name: self.adversarial, CLEAN: self.clean}
        return {source: weight for source, weight in weights.items() if weight}

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One peer, several, a natural one among them."""
        return (
            *roles.example_peers(1, 2, 3),
            (roles.example_peer("robust", "linf"), roles.example_peer("natural")),
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Plain, with both options, and natural training."""
        return (cls(), cls(clean=0.5, smoothing=0.1), cls(adversarial=0.0, clean=1.0))
