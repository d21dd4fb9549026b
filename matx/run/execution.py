"""A run: start or resume, train, evaluate, report. Everything a run leaves behind is written from here."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from matx.config import Loaded
from matx.consent import consent
from matx.distributed import SINGLE, World, again, broadcast
from matx.engine import EpochRecord
from matx.errors import CheckpointError, LostProcessError
from matx.evaluation import Asked, Evaluator, evaluate, illustrate, packaged_metrics, settings_of, target_of_training
from matx.results import Results, finished_results, read_illustrations, whole_flags, write_illustrations, write_results
from matx.run.active_run import ActiveRun, train
from matx.run.beginning import begun, refuse_other_processes
from matx.run.building import cautions, changes, restored
from matx.run.outcome import opened_trackers, tell_outcome
from matx.run.reporting import write_reports
from matx.runtime import checkpoint
from matx.runtime.environment import threads_kept
from matx.runtime.faults import machine_faults
from matx.runtime.folder import RunFolder, open_folder
from matx.runtime.identity import as_it_was, identity_of
from matx.runtime.interrupt import continued_by
from matx.runtime.lock import folder_lock
from matx.runtime.log import logged_to
from matx.runtime.progress import Display
from matx.runtime.stored import load_own, read_environment
from matx.runtime.tracking import Trackers, refuse_lacking

__all__ = ["epochs", "resume", "run"]

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
    """Train and evaluate an experiment in a new run folder: `out`, else runs/<name>-<n>. Nothing is overwritten."""
    parts = begun(loaded, out, device, display or Display(), command, world)
    with _locked(parts.folder, world):
        for _ in _epochs(parts, metrics_bytes=0):
            pass
    return parts.folder


def epochs(
    loaded: Loaded, *, out: Path | None = None, device: str = "auto", display: Display | None = None
) -> Iterator[EpochRecord]:
    """What `run` does, an epoch whenever the next record is asked for; after the last one it evaluates and reports."""
    parts = begun(loaded, out, device, display or Display(), (), SINGLE)
    with _locked(parts.folder, SINGLE):
        yield from _epochs(parts, metrics_bytes=0)


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
    if finished_results(folder.results) is not None and whole_flags(folder.path):
        checkpoint.refuse_other_experiment(checkpoint.load(folder.last), identity, folder.last)
        display.say(f"{path}: this run is finished already; nothing was left to do")
        return folder
    refuse_lacking(loaded.experiment)
    with _locked(folder, world):
        stored = broadcast(world, checkpoint.load_last(folder) if world.writes else None)
        identity = as_it_was(identity, stored.identity)
        checkpoint.refuse_other_experiment(stored, identity, folder.last)
        with threads_kept():
            training = restored(folder, loaded, stored, device or place, world)
            threads = torch.get_num_threads()
            said = [*cautions(loaded, training), *changes(stored, training)]
        active = ActiveRun(
            name=name,
            text=loaded.text,
            training=training,
            folder=folder,
            identity=identity,
            images=dict(stored.images),
            display=display,
            threads=threads,
            cautions=said,
        )
        with threads_kept(threads):
            refuse_other_processes(active)
        for _ in _epochs(active, metrics_bytes=stored.metrics_bytes):
            pass
    return folder


def _locked(folder: RunFolder, world: World) -> AbstractContextManager[None]:
    """Rank 0 keeps other commands out of the folder, for all processes of this one."""
    return folder_lock(folder.path) if world.writes else nullcontext()


def _epochs(parts: ActiveRun, *, metrics_bytes: int) -> Iterator[EpochRecord]:
    """Train from the present position to the end, evaluate, report.

    Between epochs the process is as it was: its signals, its logger, its number of threads.
    """
    with _tracked(parts) as trackers:
        with closing(train(parts, trackers, metrics_bytes)) as records:
            while True:
                with _at_work(parts):
                    record = next(records, None)
                if record is None:
                    break
                yield record
        with _at_work(parts):
            _finish(parts, trackers)
            log.info("finished")


@contextmanager
def _tracked(parts: ActiveRun) -> Iterator[Trackers]:
    """The trackers of a run that begins or goes on."""
    finished = False
    with _at_work(parts):
        _say_what_begins(parts)
        trackers = opened_trackers(parts)
    try:
        yield trackers
        finished = True
    finally:
        with ExitStack() as open_log:
            with suppress(OSError):  # a folder that is gone has no log; what ended the run is said, not that
                open_log.enter_context(logged_to(parts.folder.log_of(parts.training.places.world.rank)))
            trackers.close(finished=finished)


@contextmanager
def _at_work(parts: ActiveRun) -> Iterator[None]:
    """Log into the run's folder, with the run's threads; what ends the run says how it is continued."""
    folder, training = parts.folder, parts.training
    command = shlex.join(["matx", "run", "--resume", str(folder.path), *consent().words()])
    how = f"continue with: {again(command)}"
    kept, often = partial(checkpoint.kept, folder), " (-s Experiment.checkpoint_every=STEPS saves more often)"
    rather = how + ("" if training.experiment.checkpoint_every else often)
    log_file = folder.log_of(training.places.world.rank)
    with (
        threads_kept(parts.threads),
        _told(how),
        machine_faults(folder.path, kept, rather),
        logged_to(log_file),
        continued_by(how),
    ):
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                log.info("stopped by the user")
            with suppress(OSError):  # what is said is why the run ended
                parts.write_timing()
            raise


def _say_what_begins(parts: ActiveRun) -> None:
    """In the log of the run, which is open only now."""
    training = parts.training
    log.info("%s in %s on %s", parts.name, parts.folder.path, training.device)
    for caution in parts.cautions:
        log.warning("%s", caution)
    if training.position.epoch or training.position.step:
        log.info("resumed in epoch %d, step %d", training.position.epoch + 1, training.position.step)


@contextmanager
def _told(how: str) -> Iterator[None]:
    """Where another process is lost, the error says how to continue."""
    try:
        yield
    except LostProcessError as error:
        error.add_note(how)
        raise


def _finish(parts: ActiveRun, trackers: Trackers) -> None:
    """Evaluate both checkpoints and write the reports, results.json last: it says that the run is finished."""
    folder = parts.folder
    with parts.stopwatch.measure("evaluation"):
        found = _evaluated(parts)
    if not parts.training.places.world.writes:
        return
    parts.write_timing()  # the page shows it
    write_reports(folder, found)
    tell_outcome(trackers, found, read_illustrations(folder.path), parts.training.steps)
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
    evaluator = Evaluator(target, settings, parts.display, world=training.places.world)
    found = evaluate(evaluator, flags=folder.flags, date=date)
    illustrations = illustrate(target, settings, parts.display) if training.places.world.writes else None
    if illustrations is not None:
        write_illustrations(folder.path, illustrations)
    return found
