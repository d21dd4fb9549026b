"""The training of a run, before its first step or at a checkpoint."""

from __future__ import annotations

import torch

from matx.config import Loaded
from matx.data import fingerprints
from matx.distributed import SINGLE, World
from matx.engine import Training, normalised_by_parts, start
from matx.errors import CheckpointError
from matx.experiment import data_of
from matx.runtime import checkpoint
from matx.runtime.checkpoint import Checkpoint
from matx.runtime.environment import find_device, keep_freed_memory, provenance, provenance_changes, spare_threads
from matx.runtime.folder import RunFolder
from matx.runtime.journal import check_metrics

__all__ = ["built", "cautions", "changes", "restored"]


def built(loaded: Loaded, device: str, *, fresh: bool = True, world: World = SINGLE) -> Training:
    """The training of an experiment before its first step.

    Not fresh: weights are not read from where they start, since a checkpoint has them.
    """
    found = find_device(device)
    data = data_of(loaded.experiment)
    spare_threads(found, data.image_shape)
    keep_freed_memory(found)
    return start(loaded.experiment, data, device=found, fresh=fresh, world=world)


def cautions(loaded: Loaded, training: Training) -> list[str]:
    """What a user should know of this training: the warnings of its gin file, and peers normalised by parts."""
    experiment = loaded.experiment
    return [
        *loaded.warnings,
        *(
            f"micro_batch: the BatchNorm of peer {name!r} takes its statistics from parts of at most "
            f"{experiment.micro_batch} images, not from batches of {experiment.batch_size}, so figures are not those "
            "of undivided batches"
            for name in normalised_by_parts(experiment, training.learners)
        ),
    ]


def changes(stored: Checkpoint, training: Training) -> list[str]:
    """How this process differs from the one that began the run; none: it goes on bit for bit."""
    now = provenance(training.device, training.places.world.size)
    return [
        f"the provenance has changed, so figures may differ in their last bits: {difference}"
        for difference in provenance_changes(stored.provenance, now)
    ]


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
    return training
