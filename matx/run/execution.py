"""A run: start or resume, train, evaluate, report. Everything a run leaves behind is written from here."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matx.config import Loaded
from matx.consent import consent
from matx.data import fingerprints, read_through
from matx.distributed import SINGLE, World, again, broadcast, refuse_differences
from matx.errors import CheckpointError, FormError, LostProcessError, RunError
from matx.evaluation import Asked, Evaluator, evaluate, packaged_metrics, settings_of, target_of_training
from matx.results import Results, finished_results, read_flags, write_results
from matx.run.active_run import ActiveRun, train
from matx.run.building import built, restored
from matx.run.reporting import write_reports
from matx.runtime import checkpoint
from matx.runtime.environment import describe, provenance
from matx.runtime.faults import machine_faults
from matx.runtime.files import write_json, write_text
from matx.runtime.folder import RUNS, RunFolder, create, open_folder, refuse_existing, refuse_unwritable
from matx.runtime.identity import as_it_was, identity_of
from matx.runtime.interrupt import continued_by
from matx.runtime.journal import lines
from matx.runtime.lock import folder_lock
from matx.runtime.log import logged_to
from matx.runtime.progress import Display
from matx.runtime.stored import load_own, read_environment

__all__ = ["resume", "run"]

log = logging.getLogger("matx.run")


def run(
    loaded: Loaded,
    *,
    out: Path | None = None,
    device: str = "auto",
    display: Display | None = None,
    command: Sequence[str] = (),
    world: World = SINGLE,
) -> RunFolder:
    """Train and evaluate an experiment in a new run folder: `out`, else runs/<name>-<n>. Nothing is overwritten.

    The test images are read first, so that one that cannot be is found before anything is trained.
    """
    if world.writes:
        refuse_existing(out)
        refuse_unwritable(out)
    training = built(loaded, device, world=world)
    read_through(training.data.open_test(), loaded.experiment.evaluation.images)
    images = dict(fingerprints(training.data, test=False))
    parts = ActiveRun(
        name=loaded.name,
        text=loaded.text,
        training=training,
        folder=RunFolder(Path()),
        identity=identity_of(loaded.experiment),
        images=images,
        display=display or Display(),
    )
    _refuse_differences(parts)
    state = parts.state()

    def fill(path: Path) -> None:
        folder = RunFolder(path)
        environment = describe(
            device=training.device, seed=loaded.experiment.seed, data=images, command=command, processes=world.size
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
    with _locked(folder, world):
        return _train_and_evaluate(replace(parts, folder=folder), metrics_bytes=0)


def resume(
    path: Path,
    *,
    loaded: Loaded | None = None,
    device: str | None = None,
    display: Display | None = None,
    world: World = SINGLE,
) -> RunFolder:
    """Continue a run from its last checkpoint; a finished one is left as it is.

    `loaded`: the experiment that the user believes it is (its own config.gin otherwise); another one is refused.
    """
    folder, display = open_folder(path), display or Display()
    name, place = (str(read_environment(folder)[key]) for key in ("experiment", "device"))
    loaded = loaded or load_own(folder)
    identity = identity_of(loaded.experiment)
    if finished_results(folder.results) is not None and _whole_flags(folder):
        checkpoint.refuse_other_experiment(checkpoint.load(folder.last), identity, folder.last)
        display.say(f"{path}: this run is finished already; nothing was left to do")
        return folder
    with _locked(folder, world):
        stored = broadcast(world, checkpoint.load_last(folder) if world.writes else None)
        identity = as_it_was(identity, stored.identity)
        checkpoint.refuse_other_experiment(stored, identity, folder.last)
        training = restored(folder, loaded, stored, device or place, world)
        active = ActiveRun(
            name=name,
            text=loaded.text,
            training=training,
            folder=folder,
            identity=identity,
            images=dict(stored.images),
            display=display,
        )
        _refuse_differences(active)
        return _train_and_evaluate(active, metrics_bytes=stored.metrics_bytes)


def _locked(folder: RunFolder, world: World) -> AbstractContextManager[None]:
    """Rank 0 keeps other commands out of the folder, for all processes of this one."""
    return folder_lock(folder.path) if world.writes else nullcontext()


def _refuse_differences(parts: ActiveRun) -> None:
    """RunError where the processes do not see the same experiment, images and versions."""
    versions = {name: str(value) for name, value in provenance(parts.training.device).items()}
    images = {f"the fingerprint of {name} images": value for name, value in parts.images.items()}
    refuse_differences(parts.training.places.world, {**parts.identity, **images, **versions})


def _train_and_evaluate(parts: ActiveRun, *, metrics_bytes: int) -> RunFolder:
    """Train from the present position to the end, evaluate, report."""
    folder, training = parts.folder, parts.training
    command = shlex.join(["matx", "run", "--resume", str(folder.path), *consent().words()])
    how = f"continue with: {again(command)}"
    kept, often = partial(checkpoint.kept, folder), " (-s Experiment.checkpoint_every=STEPS saves more often)"
    rather = how + ("" if training.experiment.checkpoint_every else often)
    log_file = folder.log_of(training.places.world.rank)
    with _told(how), machine_faults(folder.path, kept, rather), logged_to(log_file), continued_by(how):
        log.info("%s in %s on %s", parts.name, folder.path, training.device)
        try:
            train(parts, metrics_bytes)
            _finish(parts)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                log.info("stopped by the user")
            with suppress(OSError):  # what is said is why the run ended
                parts.write_timing()
            raise
        parts.write_timing()
        log.info("finished")
    return folder


def _whole_flags(folder: RunFolder) -> bool:
    """Whether flags.npz is what was written; runs of before may have none."""
    try:
        read_flags(folder.path)
    except FormError:
        raise
    except RunError as error:
        log.warning("%s; they are made again", error)
        return False
    return True


@contextmanager
def _told(how: str) -> Iterator[None]:
    """Where another process is lost, the error says how to continue."""
    try:
        yield
    except LostProcessError as error:
        error.add_note(how)
        raise


def _finish(parts: ActiveRun) -> None:
    """Evaluate both checkpoints and write the reports, results.json last: it says that the run is finished."""
    folder = parts.folder
    with parts.stopwatch.measure("evaluation"):
        found = _evaluated(parts)
    if not parts.training.places.world.writes:
        return
    write_reports(folder, found)
    write_results(folder.results, found)


def _best(parts: ActiveRun) -> Mapping[str, Any] | None:
    """The training at the best epoch; None where that is the last one."""
    folder, training = parts.folder, parts.training
    if training.best is None or training.best[0] == training.position.epoch:
        return None
    epoch = training.best[0]
    if not folder.best.is_file():
        raise CheckpointError(
            f"{folder.best}: got no file, though epoch {epoch} was the best; allowed: the one that the run wrote, "
            "or `matx eval --checkpoint last`"
        )
    return checkpoint.load_of(folder.best, parts.identity, epoch=epoch).training


def _evaluated(parts: ActiveRun) -> Results:
    """The results of the best and the last epoch, their per-sample columns written beside."""
    folder, training = parts.folder, parts.training
    best = broadcast(training.places.world, _best(parts) if training.places.world.writes else None)
    target = target_of_training(parts.name, training, best)
    settings = settings_of(target, Asked(metrics=packaged_metrics("run")))
    date = read_environment(folder).get("date")
    return evaluate(
        Evaluator(target, settings, parts.display, world=training.places.world), flags=folder.flags, date=date
    )
