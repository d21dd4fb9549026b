"""Phase 2, exchange: forwards in one canonical order, and the detached logits that peers learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor

from matx.craft import forked, untouched
from matx.engine.parts import parted
from matx.engine.placing import exchanged_logits
from matx.engine.training import Training, canonical
from matx.exchange import CLEAN
from matx.experiment import teacher_mode
from matx.learner import forward

__all__ = ["TeacherLogits", "forward_seed", "forwards"]


class TeacherLogits:
    """The teachers' logits that were declared: computed once until their peer steps, a function of (peer, source)."""

    def __init__(self, training: Training, examples: Mapping[str, Tensor], part: int = 0) -> None:
        self.training = training
        self.examples = examples
        self.part = part
        self.teach: dict[tuple[str, str], Tensor] = {}
        self.ema: dict[tuple[str, str], Tensor] = {}

    def compute(self) -> None:
        """Compute what is missing, in canonical order: peers as declared, and each one's sources by `canonical`.

        Forwards draw (dropout) and average (batch statistics) in the order in which they run. One order, whatever a
        strategy declares first, makes every logit a function of its peer and source, and a resumed run equal.
        """
        needs = self.training.needs
        missing = [self._missing(needs.teach, self.teach), self._missing(needs.ema, self.ema)]
        for keys, known, average in zip(missing, (self.teach, self.ema), (False, True), strict=True):
            for peer, source in keys:
                if self.training.places.owns(peer):
                    known[peer, source] = self._forward(peer, source, average=average)
        images = self.examples[CLEAN].shape[1]
        self.teach = exchanged_logits(self.training, self.teach, missing[0], images)
        self.ema = exchanged_logits(self.training, self.ema, missing[1], images)

    def _missing(
        self, needed: frozenset[tuple[str, str]], known: Mapping[tuple[str, str], Tensor]
    ) -> list[tuple[str, str]]:
        """(peer, source) that is needed and not known, in canonical order."""
        peers = self.training.experiment.peers
        pairs = [(peer, source) for peer in peers for source in canonical(self.training, peer)]
        return [pair for pair in pairs if pair in needed and pair not in known]

    def drop(self, peers: Sequence[str]) -> None:
        """Forget the logits of peers that have stepped."""
        for table in (self.teach, self.ema):
            for key in [key for key in table if key[0] in peers]:
                del table[key]

    @torch.no_grad()
    def _forward(self, peer: str, source: str, *, average: bool) -> Tensor:
        """One forward of the source alone, so that batch statistics are its own; it updates none."""
        training, learner = self.training, self.training.learners[peer]
        module, dtype = (learner.ema_module, torch.float32) if average else (learner.module, learner.dtype)
        assert module is not None, "check_needs refuses the average of a peer that keeps none"
        train_mode = teacher_mode(training.experiment, peer, average=average) == "train"
        views = self.examples[source]
        training.passes.forward += views.shape[0] * views.shape[1]
        with untouched(module, training=train_mode), forward_seed(training, peer, self.part):
            return forward(module, views.flatten(0, 1), dtype).reshape(*views.shape[:2], -1)


def forward_seed(training: Training, peer: str, part: int) -> AbstractContextManager[None]:
    """The global generators for a training forward (dropout): the same for each evaluation of it in this step."""
    return forked(training.draws("forward", training.steps, peer, *parted(part)), training.device)


def forwards(
    training: Training, peer: str, sources: Sequence[str], examples: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """{source: (views, N, classes)} of one peer in the mode that it is in: one forward, or one per source."""
    learner, batch_norm = training.learners[peer], training.experiment.batch_norm
    wanted = [source for source in canonical(training, peer) if source in sources]
    if batch_norm == "joint":
        flat = torch.cat([examples[source].flatten(0, 1) for source in wanted])
        training.passes.forward += len(flat)
        parts = torch.split(learner.forward(flat), [examples[source].flatten(0, 1).shape[0] for source in wanted])
        return {s: z.reshape(*examples[s].shape[:2], -1) for s, z in zip(wanted, parts, strict=True)}
    logits = {}
    for position, source in enumerate(wanted):
        views = examples[source]
        training.passes.forward += views.shape[0] * views.shape[1]
        with ExitStack() as stack:
            if position and batch_norm == "separate":  # running statistics are those of the first source, its own
                stack.enter_context(untouched(learner.module, training=learner.module.training))
            logits[source] = learner.forward(views.flatten(0, 1)).reshape(*views.shape[:2], -1)
    return logits
