"""Steps and states that are not finite: they change nothing, are never saved, and stop the training with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from matx.data import Batch
from matx.distributed import average, gather
from matx.engine.training import Training
from matx.errors import NotFiniteError
from matx.exchange import PeerLoss
from matx.learner import Learner

__all__ = ["finite_total", "note_gradients", "refuse_gradients", "refuse_weights", "tensors_of", "unless_not_finite"]

_HELP = "a lower learning rate or the optimizer's option clip usually helps"


def finite_total(training: Training, losses: Mapping[str, PeerLoss], batch: Batch) -> Tensor:
    """The sum of a group's losses; NotFiniteError, in every process, where it is not finite on the whole batch."""
    totals = torch.stack([loss.total for loss in losses.values()])
    whole = totals.detach().clone()
    average(training.places.shards, [whole], training.share)
    if not whole.sum().isfinite():  # waits for the device, once a group and step: before weights change
        values = dict(zip(losses, whole.tolist(), strict=True))
        first = next((name for name, value in values.items() if not abs(value) < torch.inf), next(iter(values)))
        shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
        raise _error(training, first, f"loss: not finite in {_place(training)} ({shown}); {_HELP}", batch)
    return totals.sum()


def note_gradients(training: Training, names: Sequence[str]) -> None:
    """Keep on the device, per peer, whether all its gradients are finite; nothing waits for it."""
    for name in names:
        gradients = [p.grad for p in training.learners[name].module.parameters() if p.grad is not None]
        if gradients:
            largest = torch.nn.utils.get_total_norm(gradients, float("inf"))
            training.finite[name] = largest.isfinite()


@contextmanager
def unless_not_finite(training: Training, tensors: Callable[[], Iterable[Tensor]]) -> Iterator[None]:
    """Run what changes these tensors; on the device, each is put back where a gradient of this step is not finite.

    A tensor that is new, as an optimizer's state in its first step, becomes zero.
    """
    before = {id(tensor): (tensor, tensor.detach().clone()) for tensor in tensors()}
    yield
    if not training.finite:
        return
    with torch.no_grad():
        finite = torch.stack(list(training.finite.values())).all()
        for tensor in tensors():
            if tensor.device == finite.device:  # an optimizer's count of steps may be elsewhere
                _, kept = before.get(id(tensor), (tensor, torch.zeros_like(tensor)))
                torch.where(finite, tensor, kept, out=tensor)


def tensors_of(learner: Learner) -> list[Tensor]:
    """What a step changes of a learner beside its buffers: weights, optimizer state and averages."""
    state = {} if learner.optimizer is None else learner.optimizer.state
    found: list[Tensor] = list(learner.module.parameters())
    found += [value for entry in state.values() for value in entry.values() if isinstance(value, Tensor)]
    average = learner.ema_module
    return found + ([] if average is None else [*average.parameters(), *average.buffers()])


def refuse_gradients(training: Training, batch: Batch) -> None:
    """NotFiniteError where a gradient of this step is not finite: after everything else, once a step."""
    if training.finite and not torch.stack(list(training.finite.values())).all():
        name = next(name for name, finite in training.finite.items() if not finite)
        sentence = (
            f"peer {name!r}: got a gradient that is not finite in {_place(training)}, where its loss is; that "
            f"step was left out; {_HELP}"
        )
        raise _error(training, name, sentence, batch)


def refuse_weights(training: Training) -> None:
    """NotFiniteError where a weight, optimizer state or average is not finite, or a buffer is nan; before each save."""
    for name, learner in training.learners.items():
        tensors = [tensor for tensor in tensors_of(learner) if tensor.is_floating_point()]
        for buffer_name, buffer in learner.module.named_buffers():
            masks = not buffer_name.rpartition(".")[2].startswith("running_")  # constants may be infinite
            tensors.append(buffer.nan_to_num(nan=torch.nan, posinf=0.0, neginf=0.0) if masks else buffer)
        if not all(tensor.isfinite().all() for tensor in tensors):
            sentence = f"peer {name!r}: got weights or statistics that are not finite after {_done(training)}; {_HELP}"
            raise _error(training, name, sentence, None)


def _place(training: Training) -> str:
    """The step at hand."""
    return f"epoch {training.position.epoch + 1}, step {training.position.step + 1}"


def _done(training: Training) -> str:
    """The last step that was taken."""
    epoch, step = training.position.epoch, training.position.step
    return f"epoch {epoch + 1}, step {step}" if step else f"epoch {epoch}, step {training.steps_per_epoch}"


def _error(training: Training, name: str, sentence: str, batch: Batch | None) -> NotFiniteError:
    indices = () if batch is None else _indices(training, batch)
    position = training.position
    return NotFiniteError(sentence, peer=name, epoch=position.epoch + 1, step=position.step + 1, indices=indices)


def _indices(training: Training, batch: Batch) -> tuple[int, ...]:
    """Of the samples of the whole batch, in order."""
    own = batch.indices.tolist() if training.share else []
    return tuple(index for indices in gather(training.places.shards, own) for index in indices)
