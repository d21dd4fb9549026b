"""ACT: a robust and a natural network trained concurrently, each mimicking the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from torch import Tensor

import matx
from matx import roles
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, LogitObjective, Model, Neutral, Objective
from matx.losses import cross_entropy, distillation, kl_divergence
from matx.options import Range
from registry.strategies import _objectives, _pair
from registry.strategies._losses import label_loss


@matx.strategies.register("act")
@dataclass(frozen=True, kw_only=True)
class ACT:
    """Adversarial concurrent training (Arani et al. 2020, BMVC, arXiv 2008.07015): robust R and natural N.

    L_R = (1 - alpha) CE(R(x'), y) + alpha T^2 KL(p_N^T(x) || p_R^T(x'))
    L_N = (1 - natural_alpha) CE(N(x), y) + natural_alpha T^2 KL(p_R^T(x') || p_N^T(x)),  the other's side detached.

    Released: both alphas 0.9, T 4; KL sums over classes, means over batch and views. Several views are averaged in
    L_N too. x' maximises (1 - alpha) CE(R(x'), y) + alpha KL(p_N(x) || p_R(x')) per sample, at temperature 1; in the
    released code the CE in it is a batch mean beside a KL summed over the batch, so that its share depends on the
    batch size, which we do not copy. Published from x + 0.001 N(0,1), 10 steps of 0.007 in linf 0.031.
    """

    neutral: ClassVar[Neutral | None] = Neutral(
        settings={"alpha": 0.0, "natural_alpha": 0.0, "crafting": "attack"}, equals="independent"
    )
    symmetric: ClassVar[bool] = False

    natural: str = "natural"
    """The name of N."""
    robust: str = "robust"
    """The name of R."""
    alpha: Annotated[float, Range(0, 1)] = 0.9
    """The share of N's prediction in R's loss."""
    natural_alpha: Annotated[float, Range(0, 1)] = 0.9
    """The share of R's prediction in N's loss."""
    temperature: Annotated[float, Range(0, open="low")] = 4.0
    """T, for both sides of both KLs."""
    crafting: Literal["published", "attack"] = "published"
    """What attacks maximise: 'published' (labels and N's clean prediction) or 'attack' (the attack's own objective)."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """R on its examples, N on clean images, and each one's logits on its own."""
        weights = {(self.natural, CLEAN): self.alpha, (self.robust, self.robust): self.natural_alpha}
        return Needs(
            train=_pair.train_of("act", peers, self.natural, self.robust),
            teach=frozenset(pair for pair, weight in weights.items() if weight),
            craft={self.robust: (self.natural,)} if self.crafting == "published" else {},
        )

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """(1 - alpha) CE(R(x'), y) + alpha KL(p_N(x) || p_R(x'))."""
        tensors = {"labels": given.labels, "target": _objectives.clean_logits(models[self.natural], given)}
        return LogitObjective(models[self.robust], self._maximised, tensors)

    def _maximised(self, logits: Tensor, labels: Tensor, target: Tensor) -> Tensor:
        return (1.0 - self.alpha) * cross_entropy(logits, labels) + self.alpha * kl_divergence(target, logits)

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Cross-entropy and mimicry."""
        own, other, share = (
            ((self.robust, self.robust), (self.natural, CLEAN), self.alpha)
            if peer == self.robust
            else ((self.natural, CLEAN), (self.robust, self.robust), self.natural_alpha)
        )
        terms = {"label": (1.0 - share) * label_loss(exchange, *own)}
        if share:
            mimicry = distillation(exchange.logits(*own), exchange.teacher_logits(*other), temperature=self.temperature)
            terms["distillation"] = share * mimicry.mean()
        return PeerLoss.of(**terms)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """The two, in either order, also with two views."""
        return roles.example_pairs(self.natural, self.robust)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As released, and one way only."""
        return (cls(), cls(alpha=0.5, natural_alpha=0.0, temperature=1.0, crafting="attack"))
