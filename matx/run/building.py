"""The training of a run, before its first step or at a checkpoint."""

from __future__ import annotations

import logging

import torch

from matx.config import Loaded
from matx.data import fingerprints
from matx.distributed import SINGLE, World
from matx.engine import Training, normalised_by_parts, start
from matx.errors import CheckpointError
from matx.runtime import checkpoint
from matx.runtime.checkpoint import Checkpoint
from matx.runtime.environment import find_device, keep_freed_memory, provenance, provenance_changes, spare_threads
from matx.runtime.folder import RunFolder
from matx.runtime.journal import check_metrics

__all__ = ["built", "restored"]

log = logging.getLogger("matx.run")


def built(loaded: Loaded, device: str, *, fresh: bool = True, world: World = SINGLE) -> Training:
    """The training of an experiment before its first step; warnings of the gin file go to the log.

    Not fresh: weights are not read from where they start, since a checkpoint has them.
    """
    for warning in loaded.warnings:
        log.warning("%s", warning)
    found = find_device(device)
    data = loaded.experiment.dataset()
    spare_threads(found, data.image_shape)
    keep_freed_memory(found)
    training = start(loaded.experiment, data, device=found, fresh=fresh, world=world)
    for name in normalised_by_parts(loaded.experiment, training.learners):
        log.warning(
            "micro_batch: the BatchNorm of peer %r takes its statistics from parts of at most %d images, not from "
            "batches of %d, so figures are not those of undivided batches",
            name,
            loaded.experiment.micro_batch,
            loaded.experiment.batch_size,
        )
    return training


def restored(folder: RunFolder, loaded: Loaded, stored: Checkpoint, device: str, world: World) -> Training:
    """The training at a checkpoint; a CheckpointError where metrics, images or weights do not fit it."""
    check_metrics(folder.metrics, stored.metrics_bytes)
    training = built(loaded, device, fresh=False, world=world)
    torch.set_num_threads(int(stored.provenance["threads"]))
    checkpoint.refuse_other_images(stored, fingerprints(training.data, test=False), folder.last)
    try:
        training.load_state_dict(stored.training)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # torch's own for other names or shapes
        sentence = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{folder.last}: damaged: what it holds does not fit ({sentence})") from error
    for difference in provenance_changes(stored.provenance, provenance(training.device, world.size)):
        log.warning("the provenance has changed, so figures may differ in their last bits: %s", difference)
    log.info("resumed in epoch %d, step %d", training.position.epoch + 1, training.position.step)
    return training
