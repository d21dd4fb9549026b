"""Phase 2, exchange: forwards in one canonical order, and the detached answers that peers give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor, nn

from matx.craft import forked, untouched
from matx.engine.training import Training, canonical
from matx.randomness import seed_for

__all__ = ["Answers", "forward_seed", "forwards"]


class Answers:
    """The detached answers that were declared, computed when first read, each a function of (peer, source) alone."""

    def __init__(self, training: Training, examples: Mapping[str, Tensor]) -> None:
        self.training = training
        self.examples = examples
        self.taught: dict[tuple[str, str], Tensor] = {}
        self.averaged: dict[tuple[str, str], Tensor] = {}

    def ready(self) -> None:
        """Compute what is missing, in canonical order."""
        training = self.training
        for peer in training.experiment.peers:
            sources = [source for source in canonical(training, peer) if (peer, source) in training.needs.teach]
            missing = [source for source in sources if (peer, source) not in self.taught]
            self.taught |= {(peer, source): z for source, z in self._ask(peer, missing).items()}
            for source in canonical(training, peer):
                if (peer, source) in training.needs.ema and (peer, source) not in self.averaged:
                    self.averaged[peer, source] = self._ask_average(peer, source)

    def forget(self, peers: Sequence[str]) -> None:
        """Drop the answers of peers that have stepped."""
        for table in (self.taught, self.averaged):
            for key in [key for key in table if key[0] in peers]:
                del table[key]

    @torch.no_grad()
    def _ask(self, peer: str, sources: Sequence[str]) -> dict[str, Tensor]:
        training, learner = self.training, self.training.learners[peer]
        train_mode = training.experiment.teacher_mode == "train" and not learner.peer.frozen
        trained = training.needs.train.get(peer, ())
        answers: dict[str, Tensor] = {}
        with untouched(learner.module, training=train_mode):
            if train_mode and set(sources) & set(trained):
                with forward_seed(training, peer):
                    answers = forwards(training, peer, trained, self.examples)
            for source in sources:
                if source not in answers:
                    with forward_seed(training, peer):
                        answers[source] = forwards(training, peer, (source,), self.examples)[source]
        return {source: answers[source] for source in sources}

    @torch.no_grad()
    def _ask_average(self, peer: str, source: str) -> Tensor:
        module = self.training.learners[peer].ema_module
        assert isinstance(module, nn.Module), "check_needs refuses to ask a peer without an average"
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
    answers = {}
    for position, source in enumerate(wanted):
        views = examples[source]
        training.passes.forward += views.shape[0] * views.shape[1]
        with ExitStack() as stack:
            if position:
                stack.enter_context(untouched(learner.module, training=learner.module.training))
            answers[source] = learner.forward(views.flatten(0, 1)).reshape(*views.shape[:2], -1)
    return answers
