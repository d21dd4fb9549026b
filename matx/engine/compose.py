"""Phase 3, compose: a peer's loss from the exchange, and one backward to its own parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from matx.craft import untouched
from matx.data import Batch
from matx.engine.finite import finite_total, note_gradients
from matx.engine.teachers import TeacherLogits, forward_seed, forwards
from matx.engine.training import Training, canonical
from matx.exchange import Crafted, Exchange, Needs, PeerLoss
from matx.experiment import peer_infos
from matx.interfaces import copied, refuse_writes

__all__ = ["descend", "groups"]


def groups(needs: Needs) -> list[tuple[str, ...]]:
    """The trained peers, those that are coupled together; each group has one backward."""
    groups: list[tuple[str, ...]] = []
    for name in needs.train:
        coupled = next((group for group in needs.couples if name in group), (name,))
        if coupled not in groups:
            groups.append(coupled)
    return groups


def descend(
    training: Training, group: Sequence[str], batch: Batch, crafted: Mapping[str, Crafted], teachers: TeacherLogits
) -> dict[str, PeerLoss]:
    """The losses of a group and one backward of their sum to the group's own parameters."""
    with training.phase("teaching"):
        teachers.compute()
    evaluated = partial(_losses, training, group, batch, crafted, teachers)
    parameters = [p for name in group for p in training.learners[name].module.parameters() if p.requires_grad]
    with training.phase("training"), _perturbed(training, group, evaluated, batch):
        losses = evaluated()
        torch.autograd.backward(finite_total(training, losses, batch), inputs=parameters)
    note_gradients(training, group)
    return {name: _detached(loss) for name, loss in losses.items()}


@contextmanager
def _perturbed(
    training: Training, group: Sequence[str], evaluated: Callable[[], Mapping[str, PeerLoss]], batch: Batch
) -> Iterator[None]:
    """Adversarial weight perturbation (Wu et al. 2020, arXiv 2004.05884) around an evaluation of (forwards, loss).

    Every weight of two or more axes moves to w + gamma ||w|| g / ||g|| along its gradient of the group's loss, and is
    put back bit for bit afterwards. Statistics are updated once, in the perturbed evaluation.
    """
    gammas = {name: _gamma(training, name) for name in group}
    if not any(gammas.values()):
        yield
        return
    weights = [
        (weight, gammas[name])
        for name in group
        if gammas[name]
        for weight in training.learners[name].module.parameters()
        if weight.requires_grad and weight.ndim > 1
    ]
    with ExitStack() as stack:
        for name in group:
            stack.enter_context(untouched(training.learners[name].module, training=True))
        total = finite_total(training, evaluated(), batch)
        gradients = torch.autograd.grad(total, [weight for weight, _ in weights], allow_unused=True)
    kept = [weight.detach().clone() for weight, _ in weights]
    with torch.no_grad():
        for (weight, gamma), gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                weight.add_(gradient * (gamma * weight.norm() / gradient.norm().clamp_min(1e-12)))
    try:
        yield
    finally:
        with torch.no_grad():
            for (weight, _), value in zip(weights, kept, strict=True):
                weight.copy_(value)


def _gamma(training: Training, name: str) -> float:
    """The size of a peer's weight perturbation at this time: 0 during its warm-up."""
    peer = training.experiment.peers[name]
    return peer.weight_perturbation if training.position.epoch >= peer.weight_perturbation_from else 0.0


def _losses(
    training: Training, group: Sequence[str], batch: Batch, crafted: Mapping[str, Crafted], teachers: TeacherLogits
) -> dict[str, PeerLoss]:
    """The pair (forwards, loss) of a group; evaluating it again gives the same values and updates statistics again."""
    trained: dict[tuple[str, str], Tensor] = {}
    examples = {source: made.views for source, made in crafted.items()}
    for name in group:
        with forward_seed(training, name):
            logits = forwards(training, name, training.needs.train[name], examples)
        trained |= {(name, source): z for source, z in logits.items()}
        training.passes.backward_weights += sum(z.shape[0] * z.shape[1] for z in logits.values())
    exchange = Exchange(
        labels=batch.labels,
        num_classes=training.data.num_classes,
        epoch=training.position.epoch,
        step=training.steps,
        progress=training.progress,
        peers=peer_infos(training.experiment),
        state=training.states.get("strategy", {}),
        train=trained,
        teach=teachers.teach,
        ema=teachers.ema,
        winners={name: _winners(crafted[name]) for name in training.needs.winners},
    )
    strategy, seen = training.experiment.strategy, copied(exchange)
    losses = {name: strategy.loss(seen, name) for name in group}
    refuse_writes(strategy, seen, exchange)
    own = {name: trained[name, _own_source(training, name)] for name in group}
    return {name: _with_accuracy(loss, own[name], batch.labels) for name, loss in losses.items()}


def _winners(made: Crafted) -> Tensor:
    assert made.winners is not None, "check_needs refuses a union that does not say its winners"
    return made.winners


def _own_source(training: Training, name: str) -> str:
    """The first source in canonical order that the peer is trained on: its own examples where it has any."""
    return next(s for s in canonical(training, name) if s in training.needs.train[name])


def _with_accuracy(loss: PeerLoss, logits: Tensor, labels: Tensor) -> PeerLoss:
    accuracy = (logits.detach().argmax(-1) == labels).float().mean()
    return replace(loss, terms={"loss": loss.total, **loss.terms, "accuracy": accuracy})


def _detached(loss: PeerLoss) -> PeerLoss:
    """The same loss as plain numbers: the graph is freed."""
    terms = {name: torch.as_tensor(value).detach() for name, value in loss.terms.items()}
    return replace(loss, total=loss.total.detach(), terms=terms)
