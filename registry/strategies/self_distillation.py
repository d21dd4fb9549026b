"""Self-distillation: every peer learns from the moving average of its own weights. The control for mutual training."""

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
from matx.losses import distillation
from matx.options import Range
from registry.strategies._losses import label_loss


@matx.strategies.register("self_distillation")
@dataclass(frozen=True, kw_only=True)
class SelfDistillation:
    """Adversarial training with the peer's own moving average as the teacher: what mutual training must beat.

    L_i = (1 - alpha) CE(f_i(x'_i), y) + alpha T^2 KL(q^T || p_i^T(x'_i)) + clean CE(f_i(x), y),  q detached,

    with q the prediction of the exponential moving average of f_i's weights on x'_i (`target` = 'adversarial') or x
    ('clean'). A mean teacher (Tarvainen and Valpola 2017, arXiv 1703.01780) on adversarial examples; weights are ours.
    Means over batch and views; KL sums over classes.
    """

    neutral: ClassVar[Neutral | None] = Neutral(settings={"alpha": 0.0, "clean": 0.0}, equals="independent")
    symmetric: ClassVar[bool] = True

    alpha: Annotated[float, Range(0, 1)] = 0.5
    """Distillation's share."""
    temperature: Annotated[float, Range(0, open="low")] = 1.0
    """T, for both sides of the KL."""
    target: Literal["adversarial", "clean"] = "adversarial"
    """What the moving average is evaluated on: adversarial or clean."""
    clean: Annotated[float, Range(0)] = 0.0
    """Weight of the label loss on clean images."""
    warmup: Annotated[float, Range(0, 1)] = 0.0
    """The share of training over which the distillation's weight rises from 0."""

    def __post_init__(self) -> None:
        if self.alpha == 1.0 and not self.clean:
            raise OptionError(
                "alpha",
                got="1 without a clean term, so that no label is used and the peer can collapse to a constant",
                allowed="under 1, or clean over 0",
            )

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Own examples, the average's logits, and clean images where they count."""
        trained = roles.trained(peers)
        roles.check_attacked("self_distillation", trained)
        if self.alpha:
            roles.check_averaged("self_distillation", trained)
        clean = (CLEAN,) if self.clean else ()
        return Needs(
            train={peer.name: (peer.name, *clean) for peer in trained},
            ema=frozenset((peer.name, self._target(peer.name)) for peer in trained if self.alpha),
        )

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Cross-entropy and distillation on own examples, and the clean term."""
        terms = {"label": (1.0 - self.alpha) * label_loss(exchange, peer, peer)}
        if self.alpha:
            ramp = min(1.0, exchange.progress / self.warmup) if self.warmup else 1.0
            target = exchange.ema_teacher_logits(peer, self._target(peer))
            distilled = distillation(exchange.logits(peer, peer), target, temperature=self.temperature).mean()
            terms["distillation"] = self.alpha * ramp * distilled
        if self.clean:
            terms["clean"] = self.clean * label_loss(exchange, peer, CLEAN)
        return PeerLoss.of(**terms)

    def _target(self, peer: str) -> str:
        return CLEAN if self.target == "clean" else peer

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One peer, and several, all with a moving average."""
        one = roles.example_peer("p0", "linf", ema=True)
        union = roles.example_peer("p1", "linf", "l2", ema=True)
        return ((one,), (one, union))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Both targets, and the options."""
        return (cls(), cls(alpha=0.9, temperature=2.0, target="clean", clean=0.5, warmup=0.5))
