"""Of which images BatchNorm takes its statistics where a batch is divided: into parts in time, or over processes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm

from matx.errors import OptionError
from matx.experiment import Experiment
from matx.learner import Learner

__all__ = ["normalised_by_parts", "refuse_small_parts", "synchronise"]


def normalised_by_parts(experiment: Experiment, learners: Mapping[str, Learner]) -> tuple[str, ...]:
    """The trained peers whose BatchNorm takes its statistics from parts of the batch, by `Experiment.micro_batch`."""
    if experiment.micro_batch is None or experiment.micro_batch >= experiment.batch_size:
        return ()
    trained = {name: learner.module for name, learner in learners.items() if not learner.peer.frozen}
    return tuple(name for name, module in trained.items() if any(isinstance(m, _BatchNorm) for m in module.modules()))


def synchronise(learners: Mapping[str, Learner], device: torch.device) -> None:
    """BatchNorm with statistics over all processes; averages of weights, which are in eval mode, stay as they are."""
    if device.type != "cuda":
        raise OptionError("Experiment.sync_batch_norm", got=f"True on {device}", allowed="True on CUDA, or False")
    for learner in learners.values():
        learner.module = SyncBatchNorm.convert_sync_batchnorm(learner.module)  # type: ignore[no-untyped-call]


def refuse_small_parts(experiment: Experiment, learners: Mapping[str, Learner]) -> None:
    """Refuse parts of which one could be a single image, of which there are no statistics."""
    names, parts = normalised_by_parts(experiment, learners), experiment.micro_batch
    if names and parts is not None and parts < 3:
        allowed = f"3 or more, since peer {names[0]!r} has BatchNorm"
        raise OptionError("Experiment.micro_batch", got=str(parts), allowed=allowed)
