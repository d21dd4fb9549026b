"""A generalist whose weights are the average of its specialists' weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Self

import matx
from matx import roles
from matx.errors import OptionError
from matx.exchange import Exchange, Mix, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.options import Range
from registry.strategies._losses import label_loss


@matx.strategies.register("soup")
@dataclass(frozen=True, kw_only=True)
class Soup:
    """Interpolation of specialists' weights: what distillation into a generalist is measured against.

    L_s = CE(f_s(x'_s), y) for each specialist s (clean images for one without attacks); after every epoch
    w_g <- memory w_g + (1 - memory) sum_s a_s w_s, and after every `redistribute` epochs each w_s becomes the same,

    with a_s the relative `weights` over their sum (1/S each unless given). After Generalist (Wang and Wang 2023, CVPR),
    which mixes base trained into a global one with a moving average at every step and copies it back
    every few epochs; here at the end of epochs. The generalist has no gradient of its own, and optimizers keep their
    momentum when weights are copied back. Averages of unrelated networks are worth nothing: all have one architecture
    and start from the same weights, those of the first specialist, unless `Peer.weights` gives them some (of one run:
    this is not checked). BatchNorm's statistics are measured anew (`Peer.refresh`). Means over batch and views.
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = False

    generalist: str = "generalist"
    """The name of the peer that is mixed; all others are its specialists, frozen ones included."""
    weights: Mapping[str, Annotated[float, Range(0)]] | None = None
    """{specialist: relative weight}; those not named have 1, and only ratios count."""
    memory: Annotated[float, Range(0, 1, open="high")] = 0.0
    """The share of the generalist's own former weights."""
    redistribute: Annotated[int, Range(1)] | None = None
    """Copy the generalist's weights to the specialists that train after every so many epochs; None: never."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Own examples of the specialists, and the mix."""
        generalist = roles.peer_named("strategies.soup.generalist", self.generalist, roles.trained(peers))
        specialists = [peer for peer in peers if peer.name != generalist.name]
        trained = roles.trained(specialists)
        if not trained:
            raise OptionError("", owner="strategies.soup", got="no specialist that is trained", allowed="one or more")
        mix = {generalist.name: Mix(members=self._members(specialists))}
        if self.redistribute is not None:
            mix |= {s.name: replace(mix[generalist.name], every=self.redistribute) for s in trained}
        return Needs(train={s.name: (s.own_source,) for s in trained}, mix=mix)

    def _members(self, specialists: Sequence[PeerInfo]) -> dict[str, float]:
        """{peer: share} of the average."""
        given = self.weights or {}
        for name in given:
            roles.peer_named("strategies.soup.weights", name, specialists)
        raw = {s.name: given.get(s.name, 1.0) for s in specialists}
        total = sum(raw.values())
        if not total:
            raise OptionError("weights", owner="strategies.soup", got="only 0", allowed="at least one over 0")
        shares = {name: (1.0 - self.memory) * weight / total for name, weight in raw.items()}
        return shares | ({self.generalist: self.memory} if self.memory else {})

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Cross-entropy of a specialist on its own examples."""
        return PeerLoss.of(label=label_loss(exchange, peer, exchange.info(peer).own_source))

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """Three specialists, a natural one among two, one of them trained before."""
        name = self.generalist
        three = tuple(roles.example_peer(norm, norm) for norm in ("linf", "l2", "l1"))
        generalist = roles.example_peer(name, "linf", "l2", "l1")
        return (
            (*three, generalist),
            (roles.example_peer(name), roles.example_peer("linf", "linf"), roles.example_peer("natural")),
            (three[0], replace(three[1], frozen=True), generalist),
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Plain, weighted, and copied back."""
        return (cls(), cls(weights={"linf": 2.0}, memory=0.5), cls(redistribute=1))
