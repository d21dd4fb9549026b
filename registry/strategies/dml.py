"""Deep mutual learning: peers learn from one another's predictions on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import matx
from matx import roles
from matx.errors import OptionError
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.losses import kl_divergence
from matx.options import Range
from registry.strategies._losses import label_loss


@matx.strategies.register("dml")
@dataclass(frozen=True, kw_only=True)
class DML:
    """Deep mutual learning (Zhang et al. 2018, CVPR, arXiv 1706.00384), on adversarial or on clean images.

    L_i = CE(f_i(z), y) + weight sum_{j != i} KL(p_j(z) || p_i(z)),  p_j detached, temperature 1.

    The released code sums over the other peers with weight 1, the default; for their mean set 1 / (peers - 1). KL sums
    over classes, means over batch and views. Published on clean images (`inputs` = 'clean'); 'own' takes z = x'_i, on
    which every peer is evaluated. The released code adds 1e-8 inside its logarithm, which we leave out. Its peers'
    logits are all from before the step, as with update_order 'simultaneous'.
    """

    neutral: ClassVar[Neutral | None] = Neutral(settings={"weight": 0.0, "inputs": "own"}, equals="independent")
    symmetric: ClassVar[bool] = True

    weight: Annotated[float, Range(0)] = 1.0
    """Weight of each other peer's prediction."""
    inputs: Literal["own", "clean"] = "own"
    """z: the peer's 'own' examples (clean images where nothing attacks it), or 'clean' images for all."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Every peer's inputs, and all others' logits on them."""
        trained = roles.trained(peers)
        if len(trained) < 2:
            raise OptionError("", owner="strategies.dml", got=f"{len(trained)} trained peer", allowed="2 or more")
        inputs = {peer.name: self._input(peer) for peer in trained}
        pairs = ((other.name, inputs[peer.name]) for peer in trained for other in trained if other is not peer)
        return Needs(
            train={name: (source,) for name, source in inputs.items()},
            teach=frozenset(pairs) if self.weight else frozenset(),
        )

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Cross-entropy and the sum of divergences from the others' predictions."""
        source = self._input(exchange.info(peer))
        logits = exchange.logits(peer, source)
        terms = {"label": label_loss(exchange, peer, source)}
        if self.weight:
            others = [other.name for other in roles.trained(exchange.peers) if other.name != peer]
            parts = [kl_divergence(exchange.teacher_logits(other, source), logits).mean() for other in others]
            terms["distillation"] = self.weight * sum(parts[1:], parts[0])
        return PeerLoss.of(**terms)

    def _input(self, peer: PeerInfo) -> str:
        return CLEAN if self.inputs == "clean" else peer.own_source

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """Two and three peers, a natural one among them."""
        return (
            *roles.example_peers(2, 3),
            (roles.example_peer("robust", "linf"), roles.example_peer("natural")),
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """On adversarial and on clean images."""
        return (cls(), cls(weight=0.5, inputs="clean"))
