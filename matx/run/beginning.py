"""A run before its first step: built, compared with the other processes, in a folder that describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from matx.config import Loaded
from matx.data import fingerprints, read_through
from matx.distributed import World, broadcast, refuse_differences
from matx.run.active_run import ActiveRun
from matx.run.building import built, cautions
from matx.runtime import checkpoint
from matx.runtime.environment import describe, provenance, threads_kept
from matx.runtime.faults import machine_faults
from matx.runtime.files import write_json, write_text
from matx.runtime.folder import RUNS, RunFolder, create, refuse_existing, refuse_unwritable
from matx.runtime.identity import identity_of
from matx.runtime.journal import lines
from matx.runtime.progress import Display
from matx.runtime.tracking import refuse_lacking

__all__ = ["begun", "refuse_other_processes"]


def begun(
    loaded: Loaded, out: Path | None, device: str, display: Display, command: Sequence[str], world: World
) -> ActiveRun:
    """A run with its folder, before its first step.

    The test images are read first, so that one that cannot be is found before anything is trained.
    """
    refuse_lacking(loaded.experiment)
    if world.writes:
        refuse_existing(out)
        refuse_unwritable(out)
    with threads_kept():
        training = built(loaded, device, world=world)
        threads = torch.get_num_threads()
    read_through(training.data.open_test(), loaded.experiment.evaluation.images)
    images = dict(fingerprints(training.data, test=False))
    parts = ActiveRun(
        name=loaded.name,
        text=loaded.text,
        training=training,
        folder=RunFolder(Path()),
        identity=identity_of(loaded.experiment),
        images=images,
        display=display,
        threads=threads,
        cautions=cautions(loaded, training),
    )
    with threads_kept(threads):
        return _with_folder(parts, loaded, out, command)


def _with_folder(parts: ActiveRun, loaded: Loaded, out: Path | None, command: Sequence[str]) -> ActiveRun:
    """The run in its new folder, which holds what describes it and the checkpoint before the first step."""
    training, world = parts.training, parts.training.places.world
    refuse_other_processes(parts)
    state = parts.state()

    def fill(path: Path) -> None:
        folder = RunFolder(path)
        environment = describe(
            device=training.device,
            seed=loaded.experiment.seed,
            data=parts.images,
            command=command,
            processes=world.size,
        )
        folder.last.parent.mkdir()
        write_text(folder.config, loaded.text)
        write_text(folder.resolved, "".join(f"{line}\n" for line in lines(loaded.resolved)))
        write_json(folder.resolved.with_suffix(".json"), dict(loaded.resolved))
        write_json(folder.identity, parts.identity)
        write_json(folder.environment, {"experiment": loaded.name} | environment)
        checkpoint.save(folder.last, parts.checkpoint(state, 0))

    with machine_faults((out or RUNS / loaded.name).parent, lambda: "no run was begun", "the same command begins it"):
        folder = RunFolder(broadcast(world, create(out, loaded.name, fill) if world.writes else None))
    return replace(parts, folder=folder)


def refuse_other_processes(parts: ActiveRun) -> None:
    """RunError where the processes do not see the same experiment, images and versions."""
    versions = {name: str(value) for name, value in provenance(parts.training.device).items()}
    images = {f"the fingerprint of {name} images": value for name, value in parts.images.items()}
    refuse_differences(parts.training.places.world, {**parts.identity, **images, **versions})
