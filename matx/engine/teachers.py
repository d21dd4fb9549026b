"""Phase 2, exchange: forwards in one canonical order, and the detached logits that peers learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor, nn

from matx.craft import forked, untouched
from matx.engine.training import Training, canonical
from matx.randomness import seed_for

__all__ = ["TeacherLogits", "forward_seed", "forwards"]


class TeacherLogits:
    """The teachers' logits that were declared: computed once until their peer steps, a function of (peer, source)."""

    def __init__(self, training: Training, examples: Mapping[str, Tensor]) -> None:
        self.training = training
        self.examples = examples
        self.teach: dict[tuple[str, str], Tensor] = {}
        self.ema: dict[tuple[str, str], Tensor] = {}

    def compute(self) -> None:
        """Compute what is missing, in canonical order: peers as declared, and each one's sources by `canonical`.

        Forwards draw (dropout) and average (batch statistics) in the order in which they run. One order, whatever a
        strategy declares first, makes every logit a function of its peer and source, and a resumed run equal.
        """
        training = self.training
        for peer in training.experiment.peers:
            sources = [source for source in canonical(training, peer) if (peer, source) in training.needs.teach]
            missing = [source for source in sources if (peer, source) not in self.teach]
            self.teach |= {(peer, source): logits for source, logits in self._forward(peer, missing).items()}
            for source in canonical(training, peer):
                if (peer, source) in training.needs.ema and (peer, source) not in self.ema:
                    self.ema[peer, source] = self._forward_average(peer, source)

    def drop(self, peers: Sequence[str]) -> None:
        """Forget the logits of peers that have stepped."""
        for table in (self.teach, self.ema):
            for key in [key for key in table if key[0] in peers]:
                del table[key]

    @torch.no_grad()
    def _forward(self, peer: str, sources: Sequence[str]) -> dict[str, Tensor]:
        training, learner = self.training, self.training.learners[peer]
        train_mode = training.experiment.teacher_mode == "train" and not learner.peer.frozen
        trained = training.needs.train.get(peer, ())
        logits: dict[str, Tensor] = {}
        with untouched(learner.module, training=train_mode):
            if train_mode and set(sources) & set(trained):
                # The forward of the peer's own training step, on all its sources and with the same draws: its batch
                # statistics depend on every source in it, and must not depend on which of them are read.
                with forward_seed(training, peer):
                    logits = forwards(training, peer, trained, self.examples)
            for source in sources:
                if source not in logits:
                    with forward_seed(training, peer):
                        logits[source] = forwards(training, peer, (source,), self.examples)[source]
        return {source: logits[source] for source in sources}

    @torch.no_grad()
    def _forward_average(self, peer: str, source: str) -> Tensor:
        module = self.training.learners[peer].ema_module
        assert isinstance(module, nn.Module), "check_needs refuses the average of a peer that keeps none"
        views = self.examples[source]
        self.training.passes.forward += views.shape[0] * views.shape[1]
        logits: Tensor = module(views.flatten(0, 1))
        return logits.reshape(views.shape[0], views.shape[1], -1)


def forward_seed(training: Training, peer: str) -> AbstractContextManager[None]:
    """The global generators for a training forward (dropout): the same for each evaluation of it in this step."""
    experiment = training.experiment
    return forked(seed_for(experiment.seed, "forward", training.steps, peer), training.device)


def forwards(
    training: Training, peer: str, sources: Sequence[str], examples: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """{source: (views, N, classes)} of one peer in the mode that it is in: one forward, or one per source."""
    learner = training.learners[peer]
    wanted = [source for source in canonical(training, peer) if source in sources]
    if training.experiment.batch_norm == "joint":
        flat = torch.cat([examples[source].flatten(0, 1) for source in wanted])
        training.passes.forward += len(flat)
        parts = torch.split(learner.forward(flat), [examples[source].flatten(0, 1).shape[0] for source in wanted])
        return {s: z.reshape(*examples[s].shape[:2], -1) for s, z in zip(wanted, parts, strict=True)}
    logits = {}
    for position, source in enumerate(wanted):
        views = examples[source]
        training.passes.forward += views.shape[0] * views.shape[1]
        with ExitStack() as stack:
            if position:  # running statistics are those of the first source, the peer's own
                stack.enter_context(untouched(learner.module, training=learner.module.training))
            logits[source] = learner.forward(views.flatten(0, 1)).reshape(*views.shape[:2], -1)
    return logits
