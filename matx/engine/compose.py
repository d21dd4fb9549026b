"""Phase 3, compose: a peer's loss from the exchange, and one backward to its own parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from matx.craft import untouched
from matx.data import Batch
from matx.distributed import average
from matx.engine.finite import finite_total, note_gradients
from matx.engine.parts import Rows, joined, parts_of, table_part
from matx.engine.sharding import average_gradients
from matx.engine.teachers import TeacherLogits, forward_seed, forwards
from matx.engine.training import Training, canonical
from matx.errors import ExchangeError
from matx.exchange import Crafted, Exchange, Needs, PeerLoss
from matx.experiment import peer_infos
from matx.interfaces import copied, default_type_kept, refuse_writes

__all__ = ["descend", "groups"]


def groups(needs: Needs) -> list[tuple[str, ...]]:
    """The trained peers, those that are coupled together; each group has one backward."""
    groups: list[tuple[str, ...]] = []
    for name in needs.train:
        coupled = next((group for group in needs.couples if name in group), (name,))
        if coupled not in groups:
            groups.append(coupled)
    return groups


Backward = Callable[[Sequence[Tensor], Sequence[Tensor] | None], object]
"""What is done with outputs and the gradients of a loss with respect to them; None: the output is the loss."""


def descend(
    training: Training,
    group: Sequence[str],
    batch: Batch,
    crafted: Mapping[str, Crafted],
    teachers: Sequence[TeacherLogits],
) -> dict[str, PeerLoss]:
    """The losses of a group and one backward of their sum to the group's own parameters; {} where others own it."""
    with training.phase("teaching"):
        for part in teachers:
            part.compute()
    if not training.places.owns(group[0]):
        return {}
    step = _GroupStep(
        training=training,
        group=tuple(group),
        batch=batch,
        crafted=crafted,
        teach=joined([part.teach for part in teachers]),
        ema=joined([part.ema for part in teachers]),
    )
    parameters = [p for name in group for p in training.learners[name].module.parameters() if p.requires_grad]
    with training.phase("training"), _perturbed(step):
        losses = step.evaluate(lambda outputs, slopes: torch.autograd.backward(outputs, slopes, inputs=parameters))
    average_gradients(training, group)
    note_gradients(training, group)
    return {name: _detached(loss) for name, loss in losses.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class _GroupStep:
    """What the losses of a group are computed from in one step."""

    training: Training
    group: tuple[str, ...]
    batch: Batch
    crafted: Mapping[str, Crafted]
    teach: Mapping[tuple[str, str], Tensor]
    ema: Mapping[tuple[str, str], Tensor]

    def evaluate(self, backward: Backward) -> dict[str, PeerLoss]:
        """The losses, and `backward` of their sum; again it gives the same values and updates statistics again.

        Of several parts, first the logits of all are computed without a graph, since a loss is a function of the whole
        batch's; then each part is forwarded again, and its logits receive the gradient that the losses have there. So
        every loss has the value and the gradient of the undivided batch, and one part's graph exists at a time.
        """
        parts = parts_of(len(self.batch.labels), self.training.experiment.micro_batch)
        if len(parts) == 1:
            trained = [self._logits(name, parts[0], 0) for name in self.group]
            losses = self._losses({key: logits for table in trained for key, logits in table.items()})
            backward([finite_total(self.training, losses, self.batch)], None)
            return losses
        whole = self._logits_of_parts(parts)
        losses = self._losses(whole)
        total = finite_total(self.training, losses, self.batch)
        slopes = dict(zip(whole, torch.autograd.grad(total, list(whole.values()), allow_unused=True), strict=True))
        for name in self.group:
            for part, rows in enumerate(parts):
                logits = self._logits(name, rows, part)
                reached = {key: slope[:, rows] for key in logits if (slope := slopes[key]) is not None}
                if reached:
                    backward([logits[key] for key in reached], list(reached.values()))
        return losses

    def _logits_of_parts(self, parts: Sequence[Rows]) -> dict[tuple[str, str], Tensor]:
        """The training logits of the whole batch as leaves of the losses; statistics are left as they are."""
        with torch.no_grad(), ExitStack() as stack:
            for name in self.group:
                stack.enter_context(untouched(self.training.learners[name].module, training=True))
            found = [joined([self._logits(name, rows, part) for part, rows in enumerate(parts)]) for name in self.group]
        return {key: logits.requires_grad_() for table in found for key, logits in table.items()}

    def _logits(self, name: str, rows: Rows, part: int) -> dict[tuple[str, str], Tensor]:
        """{(peer, source): its training logits on a part}."""
        with forward_seed(self.training, name, part):
            needed = self.training.needs.train[name]
            views = {source: self.crafted[source].views for source in needed}
            found = forwards(self.training, name, needed, table_part(views, rows))
        if torch.is_grad_enabled():
            self.training.passes.backward_weights += sum(z.shape[0] * z.shape[1] for z in found.values())
        return {(name, source): logits for source, logits in found.items()}

    def _losses(self, trained: Mapping[tuple[str, str], Tensor]) -> dict[str, PeerLoss]:
        training, labels = self.training, self.batch.labels
        exchange = Exchange(
            labels=labels,
            num_classes=training.data.num_classes,
            epoch=training.position.epoch,
            step=training.steps,
            progress=training.progress,
            peers=peer_infos(training.experiment),
            state=training.states.get("strategy", {}),
            train=trained,
            teach=self.teach,
            ema=self.ema,
            winners={name: _winners(self.crafted[name]) for name in training.needs.winners},
        )
        strategy, seen = training.experiment.strategy, copied(exchange)
        with default_type_kept(strategy):
            losses = {name: strategy.loss(seen, name) for name in self.group}
        refuse_writes(strategy, seen, exchange)
        for name, loss in losses.items():
            if loss.total.ndim or not loss.total.requires_grad:
                got = f"a loss of shape {tuple(loss.total.shape)}" if loss.total.ndim else "a loss without a gradient"
                raise ExchangeError(f"{strategy!r}: got {got} for peer {name!r}, allowed: a scalar of its logits")
        own = {name: trained[name, _own_source(training, name)] for name in self.group}
        return {name: _with_accuracy(loss, own[name], labels) for name, loss in losses.items()}


@contextmanager
def _perturbed(step: _GroupStep) -> Iterator[None]:
    """Adversarial weight perturbation (Wu et al. 2020, arXiv 2004.05884) around an evaluation of (forwards, loss).

    Every weight of two or more axes moves to w + gamma ||w|| g / ||g|| along its gradient of the group's loss, and is
    put back bit for bit afterwards. Statistics are updated once, in the perturbed evaluation.
    """
    learners = {name: step.training.learners[name] for name in step.group}
    gammas = {name: _gamma(step.training, name) for name in step.group}
    if not any(gammas.values()):
        yield
        return
    weights = [
        (weight, gammas[name])
        for name, learner in learners.items()
        if gammas[name]
        for weight in learner.module.parameters()
        if weight.requires_grad and weight.ndim > 1
    ]
    gradients: list[Tensor | None] = [None] * len(weights)

    def add(outputs: Sequence[Tensor], slopes: Sequence[Tensor] | None) -> None:
        found = torch.autograd.grad(outputs, [weight for weight, _ in weights], slopes, allow_unused=True)
        for place, gradient in enumerate(found):
            known = gradients[place]
            gradients[place] = gradient if known is None else known if gradient is None else known + gradient

    with ExitStack() as stack:
        for learner in learners.values():
            stack.enter_context(untouched(learner.module, training=True))
        step.evaluate(add)
    average(step.training.places.shards, [known for known in gradients if known is not None], step.training.share)
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
