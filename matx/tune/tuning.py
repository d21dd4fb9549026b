"""`matx tune`: check, open or continue the study, search, run the best again, report."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from optuna.trial import Trial, TrialState

from matx.config import Loaded
from matx.engine.places import check_processes
from matx.errors import OptionError
from matx.experiment import Experiment
from matx.experiment.tune import Tune
from matx.runtime.environment import find_device
from matx.runtime.interrupt import Interrupted, deferred_signals
from matx.runtime.progress import Bar, Display
from matx.runtime.workers import Work, WorkerPool, usable_cores
from matx.tune.final import FinalComparison, best_trial, conclude
from matx.tune.report import write_reports
from matx.tune.sampling import distributions
from matx.tune.space import own_values, starting_points
from matx.tune.storage import close_storage, storage_errors
from matx.tune.study import OpenStudy, Resources, open_study
from matx.tune.study_folder import StudyFolder, open_folder, write_trial
from matx.tune.study_worker import StudyWorker, TrialEnd
from matx.tune.trial import Task, check_objectives, train
from matx.tune.trial_queue import LEASE, TrialQueue, finished_trials

__all__ = ["Request", "tune"]

log = logging.getLogger("matx.tune")
_STOPPING = "stopping; trials that are being trained are queued again"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line gives."""

    trials: int = 50
    """The total, those of earlier commands included."""
    folder: Path | None = None
    storage: str | None = None
    jobs: int | None = None
    """Trials at a time on this machine; None: one a core or GPU, or for as many of these as a trial has processes."""
    processes: int = 1
    """Of each trial."""
    device: str = "auto"
    lease: float = LEASE


def tune(
    loaded: Loaded, request: Request, *, display: Display | None = None, work: Work = train
) -> tuple[StudyFolder, FinalComparison]:
    """Search until the study holds `trials` results, run the best again, and write the reports and best.gin.

    Bad input is refused before anything is written. `work`: what a worker does with a Task.
    """
    display = display or Display()
    device, jobs = _check(loaded.experiment, request)
    folder = open_folder(request.folder, loaded.name)
    with tempfile.TemporaryDirectory() as scratch:
        recipe = Path(scratch) / f"{loaded.name}.gin"
        recipe.write_text(loaded.text, encoding="utf-8")
        starts = starting_points(loaded.experiment.tune, own_values(recipe, loaded.experiment.tune))
    where = request.storage or str(folder.journal)
    with _quiet(), deferred_signals(display.say, _STOPPING) as stopped, storage_errors(where):
        opened = open_study(loaded, folder, request.storage)
        resources = Resources(
            pool=WorkerPool(work, jobs),
            device=device,
            display=display,
            stopped=stopped,
            lease=request.lease,
            processes=request.processes,
        )
        queue = TrialQueue(
            opened.study,
            total=_total(request.trials, opened, len(starts), display),
            space=distributions(opened.tune.axes),
            lease=request.lease,
        )
        queue.enqueue(starts)
        try:
            _search(opened, resources, queue)
            final = conclude(opened, resources, queue.trials(), starts)
            write_reports(folder, opened.study, opened.tune, final)
        except KeyboardInterrupt as stop:
            write_reports(folder, opened.study, opened.tune)
            raise Interrupted(f"the same command continues the study {folder.path}") from stop
        finally:
            resources.pool.terminate()
            close_storage(opened.storage)
    return folder, final


def _check(experiment: Experiment, request: Request) -> tuple[str, int]:
    """(device, jobs); OptionError for what cannot be searched."""
    declared = experiment.tune
    if request.trials < 1:
        raise OptionError(f"--trials: got {request.trials}, allowed: 1 or more")
    if request.jobs is not None and request.jobs < 1:
        raise OptionError(f"--jobs: got {request.jobs}, allowed: 1 or more")
    if request.processes < 1:
        raise OptionError(f"--processes: got {request.processes}, allowed: 1 or more")
    if not declared.space:
        raise OptionError(
            "Tune.space: got nothing to search, allowed: ranges in the gin file, such as Experiment.tune = @Tune() and "
            "Tune.space = {'strategies.NAME.OPTION': ('float', 0.0, 1.0)}"
        )
    if experiment.seed in declared.seeds:
        raise OptionError(
            f"Tune.seeds: got {experiment.seed}, on which the trials train (Experiment.seed), allowed: fresh seeds"
        )
    check_objectives(experiment)
    check_processes(experiment, request.processes)
    device = find_device(request.device)
    cores = usable_cores() if device.type == "cpu" else max(1, torch.cuda.device_count())
    jobs = request.jobs or max(1, cores // request.processes)
    if request.processes > 1 and device.type == "cuda" and jobs * request.processes > cores:
        raise OptionError(
            f"--processes: got {request.processes} for each of {jobs} trials at a time on {cores} GPUs, allowed: one "
            "process a GPU"
        )
    return str(device), jobs


def _total(trials: int, opened: OpenStudy, starts: int, display: Display) -> int:
    """How many slots there are: a grid has no more than its points and the starting points."""
    if len(opened.tune.objectives) > 1:
        display.say("two objectives: a Pareto front is sought, and no trial is pruned")
    if opened.tune.sampler != "grid" or trials <= starts:
        return trials
    display.say(f"the grid has {len(opened.tune.grid())} points, so the study ends after {starts} trials")
    return starts


def _search(opened: OpenStudy, resources: Resources, queue: TrialQueue) -> None:
    done = finished_trials(queue.trials(), queue.total)
    if done:
        resources.display.say(f"continuing {opened.folder.path} with {len(done)} of {queue.total} trials done")
    with resources.display.bar("trials", queue.total, len(done)) as bar:

        def on_end(end: TrialEnd) -> None:
            write_trial(opened.folder.trial(end.number), end)
            _show_end(opened.tune, queue, bar, end)

        def task(trial: Trial, position: int) -> Task:
            device = resources.device_of(position)
            return opened.task(trial.params, opened.folder.trial(trial.number), device, resources.processes)

        worker = StudyWorker(queue, resources.pool, task, on_end, opened.epochs, stopped=resources.stopped)
        try:
            worker.work()
        finally:
            trained = sum(t.user_attrs.get("outcome", {}).get("seconds", 0.0) for t in queue.trials())
            log.info("the search took %.1f s; all trials together trained %.1f s", worker.overhead_seconds, trained)


def _show_end(tune: Tune, queue: TrialQueue, bar: Bar, end: TrialEnd) -> None:
    """One line: the trial, the best so far, how many were pruned and failed."""
    trials = queue.trials()
    over = finished_trials(trials, queue.total)
    count = {state: sum(trial.state == state for trial in over) for state in TrialState}
    values = ", ".join(f"{value:.4f}" for value in end.values) if end.values else end.reason
    parts = [f"trial {end.number} {end.state}{f' {values}' if values else ''}"]
    if count[TrialState.COMPLETE]:
        best = best_trial(trials, tune)
        parts.append(f"best {', '.join(f'{value:.4f}' for value in best.values)} (trial {best.number})")
    parts.append(f"{count[TrialState.PRUNED]} pruned, {count[TrialState.FAIL]} failed")
    bar(len(over), " · ".join(parts), line=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without optuna's own log and its warnings of experimental features."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
