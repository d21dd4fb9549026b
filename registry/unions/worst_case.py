"""Of every attack's examples the worst, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

import matx
from matx.interfaces import Attack, AttackInput, Crafted, LogitObjective, ObjectiveName, run_attack


@matx.unions.register("worst_case")
@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """One view: per sample the example argmax_a loss(x'_a) (MAX of Tramer and Boneh 2019, arXiv 1904.13000).

    Costs every attack's passes and one forward of all their examples as one batch (none for a single attack), by the
    peer itself, in fp32 and in its attack mode, whatever copy of it the attacks searched on.
    Its winners are those attacks, by that forward; where several have exactly the highest loss, they share.
    """

    says_winners: ClassVar[bool] = True

    dominates: ClassVar[bool] = True
    """Its view is nowhere weaker than any of the attacks: a contract checks it."""

    objective: ObjectiveName = "cross_entropy"
    """The loss that compares, where the strategy supplies none: cross_entropy, margin, dlr, or kl."""
    misclassified_first: bool = False
    """True, for evaluation: an example that fools the model comes before any that does not, whatever the loss."""

    def start(self) -> matx.State:
        """Nothing: it has no memory."""
        return {}

    def views(self, count: int) -> int:
        """One."""
        return 1

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: matx.State) -> Crafted:
        views = torch.stack([run_attack(attack, given) for attack in attacks])
        if len(views) == 1:
            return Crafted(views=views, winners=torch.ones(*views.shape[:2], 1, device=views.device), state=state)
        with torch.no_grad():
            values, wrong = self._evaluated(views, given.judged())
        if self.misclassified_first:
            values = values.masked_fill(~wrong & wrong.any(0), -torch.inf)
        worst = values.argmax(0)
        tied = (values == values.amax(0)).T.float()
        view = views[worst, torch.arange(views.shape[1], device=views.device)]
        return Crafted(views=view[None], winners=(tied / tied.sum(-1, keepdim=True))[None], state=state)

    def _evaluated(self, views: Tensor, given: AttackInput) -> tuple[Tensor, Tensor]:
        """(views, N) losses and flags of misclassification (all False where `misclassified_first` is False)."""
        count, size = views.shape[:2]
        rows = torch.arange(size, device=views.device).repeat(count)
        objective = given.objective_for(self.objective).select(rows)
        flat = views.flatten(0, 1)
        logits: Tensor | None = None
        if isinstance(objective, LogitObjective):
            values, own = objective.evaluate(flat)
            logits = own if objective.model is given.model else None
        else:
            values = objective(flat)
        wrong = torch.zeros_like(values, dtype=torch.bool)
        if self.misclassified_first:
            wrong = (given.model(flat) if logits is None else logits).argmax(-1) != given.labels[rows]
        return values.reshape(count, size), wrong.reshape(count, size)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(), cls(objective="margin"), cls(misclassified_first=True)]
