"""Plain adversarial training: every peer on its own examples, nobody teaches anybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import matx
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.losses import cross_entropy
from registry.strategies import _cast


@matx.strategies.register("independent")
@dataclass(frozen=True, kw_only=True)
class Independent:
    """Plain adversarial training (Madry et al. 2018, arXiv 1706.06083).

    L_i = CE(f_i(x'_i), y) + clean CE(f_i(x), y), with label smoothing s: CE = -(1-s) log p_y - (s/C) sum_c log p_c.

    Mean over batch and views: under the union `average` this is AVG as the mean of the views' losses and one update
    (Tramer and Boneh 2019, arXiv 1904.13000), under `worst_case` MAX. A peer without attacks learns CE(f_i(x), y).
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = True

    clean: float = 0.0
    """Weight of the loss on clean images, beside the adversarial one."""
    smoothing: float = 0.0
    """Label smoothing, in every term."""

    def __post_init__(self) -> None:
        _cast.check_weights("independent", clean=self.clean)
        _cast.check_smoothing("independent", self.smoothing)

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Own examples of every trained peer, and clean images where they count."""
        clean = (CLEAN,) if self.clean else ()
        return Needs(train={p.name: (p.name, *clean) if p.views else (CLEAN,) for p in _cast.learners(peers)})

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Cross-entropy on own examples, and on clean images by their weight."""
        source = _cast.own_source(_cast.info(exchange, peer))
        own = cross_entropy(exchange.logits(peer, source), exchange.labels, smoothing=self.smoothing).mean()
        if source == CLEAN or not self.clean:
            return PeerLoss(total=own, terms=_cast.logged(label=own))
        clean = cross_entropy(exchange.logits(peer, CLEAN), exchange.labels, smoothing=self.smoothing).mean()
        return PeerLoss(total=own + self.clean * clean, terms=_cast.logged(label=own, clean=clean))

    def casts(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One peer, several, a natural one among them."""
        return (
            *_cast.example_casts(1, 2, 3),
            (_cast.example_peer("robust", "linf"), _cast.example_peer("natural")),
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Plain, and with both options."""
        return (cls(), cls(clean=0.5, smoothing=0.1))
