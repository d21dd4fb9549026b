"""A run: start or resume, train, evaluate, report. Everything a run leaves behind is written from here."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from matx.config import Loaded
from matx.consent import consent
from matx.data import fingerprints, read_through
from matx.engine import Training, normalised_by_parts, start
from matx.errors import CheckpointError, RunError
from matx.evaluation import Asked, Evaluator, evaluate, packaged_metrics, settings_of, target_of_training
from matx.results import Results, finished_results, read_flags, write_results
from matx.run.active_run import ActiveRun, train
from matx.run.reporting import write_reports
from matx.runtime import checkpoint
from matx.runtime.checkpoint import Checkpoint
from matx.runtime.environment import describe, find_device, provenance, provenance_changes, spare_threads
from matx.runtime.faults import machine_faults
from matx.runtime.files import write_json, write_text
from matx.runtime.folder import RUNS, RunFolder, create, open_folder, refuse_existing, refuse_unwritable
from matx.runtime.identity import as_it_was, identity_of
from matx.runtime.interrupt import continued_by
from matx.runtime.journal import check_metrics, lines
from matx.runtime.lock import folder_lock
from matx.runtime.log import logged_to
from matx.runtime.progress import Display
from matx.runtime.stored import load_own, read_environment

__all__ = ["built", "resume", "run"]

log = logging.getLogger("matx.run")


def run(
    loaded: Loaded,
    *,
    out: Path | None = None,
    device: str = "auto",
    display: Display | None = None,
    command: Sequence[str] = (),
) -> RunFolder:
    """Train and evaluate an experiment in a new run folder: `out`, else runs/<name>-<n>. Nothing is overwritten.

    The test images are read first, so that one that cannot be is found before anything is trained.
    """
    refuse_existing(out)
    refuse_unwritable(out)
    training = built(loaded, device)
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

    def fill(path: Path) -> None:
        folder = RunFolder(path)
        environment = describe(device=training.device, seed=loaded.experiment.seed, data=images, command=command)
        folder.last.parent.mkdir()
        write_text(folder.config, loaded.text)
        write_text(folder.resolved, "".join(f"{line}\n" for line in lines(loaded.resolved)))
        write_json(folder.resolved.with_suffix(".json"), dict(loaded.resolved))
        write_json(folder.identity, parts.identity)
        write_json(folder.environment, {"experiment": loaded.name} | environment)
        checkpoint.save(folder.last, parts.checkpoint(0))

    with machine_faults((out or RUNS / loaded.name).parent, lambda: "no run was begun", "the same command begins it"):
        folder = RunFolder(create(out, loaded.name, fill))
    with folder_lock(folder.path):
        return _train_and_evaluate(replace(parts, folder=folder), metrics_bytes=0)


def resume(
    path: Path, *, loaded: Loaded | None = None, device: str | None = None, display: Display | None = None
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
    with folder_lock(folder.path):
        stored = checkpoint.load_last(folder)
        identity = as_it_was(identity, stored.identity)
        checkpoint.refuse_other_experiment(stored, identity, folder.last)
        training = _restored(folder, loaded, stored, device or place)
        active = ActiveRun(
            name=name,
            text=loaded.text,
            training=training,
            folder=folder,
            identity=identity,
            images=dict(stored.images),
            display=display,
        )
        return _train_and_evaluate(active, metrics_bytes=stored.metrics_bytes)


def built(loaded: Loaded, device: str, *, fresh: bool = True) -> Training:
    """The training of an experiment before its first step; warnings of the gin file go to the log.

    Not fresh: weights are not read from where they start, since a checkpoint has them.
    """
    for warning in loaded.warnings:
        log.warning("%s", warning)
    found = find_device(device)
    data = loaded.experiment.dataset()
    spare_threads(found, data.image_shape)
    training = start(loaded.experiment, data, device=found, fresh=fresh)
    for name in normalised_by_parts(loaded.experiment, training.learners):
        log.warning(
            "micro_batch: the BatchNorm of peer %r takes its statistics from parts of at most %d images, not from "
            "batches of %d, so figures are not those of undivided batches",
            name,
            loaded.experiment.micro_batch,
            loaded.experiment.batch_size,
        )
    return training


def _restored(folder: RunFolder, loaded: Loaded, stored: Checkpoint, device: str) -> Training:
    """The training at a checkpoint; a CheckpointError where metrics, images or weights do not fit it."""
    check_metrics(folder.metrics, stored.metrics_bytes)
    training = built(loaded, device, fresh=False)
    torch.set_num_threads(int(stored.provenance["threads"]))
    checkpoint.refuse_other_images(stored, fingerprints(training.data, test=False), folder.last)
    try:
        training.load_state_dict(stored.training)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # torch's own for other names or shapes
        sentence = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{folder.last}: damaged: what it holds does not fit ({sentence})") from error
    for difference in provenance_changes(stored.provenance, provenance(training.device)):
        log.warning("the provenance has changed, so figures may differ in their last bits: %s", difference)
    log.info("resumed in epoch %d, step %d", training.position.epoch + 1, training.position.step)
    return training


def _train_and_evaluate(parts: ActiveRun, *, metrics_bytes: int) -> RunFolder:
    """Train from the present position to the end, evaluate, report."""
    folder, training = parts.folder, parts.training
    command = shlex.join(["matx", "run", "--resume", str(folder.path), *consent().words()])
    again = f"continue with: {command}"
    kept, often = partial(checkpoint.kept, folder), " (-s Experiment.checkpoint_every=STEPS saves more often)"
    rather = again + ("" if training.experiment.checkpoint_every else often)
    with machine_faults(folder.path, kept, rather), logged_to(folder.log), continued_by(again):
        log.info("%s in %s on %s", parts.name, folder.path, training.device)
        try:
            train(parts, metrics_bytes)
            _finish(parts)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                log.info("stopped by the user")
            with suppress(OSError):  # what is said is why the run ended
                parts.stopwatch.write(folder.timing)
            raise
        parts.stopwatch.write(folder.timing)
        log.info("finished")
    return folder


def _whole_flags(folder: RunFolder) -> bool:
    """Whether flags.npz is what was written; runs of before may have none."""
    try:
        read_flags(folder.path)
    except RunError as error:
        log.warning("%s; they are made again", error)
        return False
    return True


def _finish(parts: ActiveRun) -> None:
    """Evaluate both checkpoints and write the reports, results.json last: it says that the run is finished."""
    folder = parts.folder
    with parts.stopwatch.measure("evaluation"):
        found = _evaluated(parts)
    write_reports(folder, found)
    write_results(folder.results, found)


def _evaluated(parts: ActiveRun) -> Results:
    """The results of the best and the last epoch, their per-sample columns written beside."""
    folder, training = parts.folder, parts.training
    best = None
    if training.best is not None and training.best[0] != training.position.epoch:
        epoch = training.best[0]
        if not folder.best.is_file():
            raise CheckpointError(
                f"{folder.best}: got no file, though epoch {epoch} was the best; allowed: the one that the run wrote, "
                "or `matx eval --checkpoint last`"
            )
        best = checkpoint.load_of(folder.best, parts.identity, epoch=epoch, device=training.device).training
    target = target_of_training(parts.name, training, best)
    settings = settings_of(target, Asked(metrics=packaged_metrics("run")))
    date = read_environment(folder).get("date")
    return evaluate(Evaluator(target, settings, parts.display), flags=folder.flags, date=date)
