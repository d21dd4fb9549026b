"""`matx tune`: check, open or continue the study, search, run the best again, report."""

from __future__ import annotations

import logging
import signal
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
from matx.errors import OptionError
from matx.experiment import Experiment
from matx.runtime.environment import find_device
from matx.runtime.interrupt import Interrupted, deferred_signals
from matx.runtime.progress import Bar, Display
from matx.runtime.workers import Work, usable_cores
from matx.tune.final import FinalComparison, best_trial, conclude
from matx.tune.folder import StudyFolder, open_folder, write_trial
from matx.tune.report import write_reports
from matx.tune.sampling import distributions
from matx.tune.space import own_values, starting_points
from matx.tune.storage import close_storage, storage_errors
from matx.tune.study import Context, opened
from matx.tune.study_worker import Hand, TrialEnd
from matx.tune.trial import Task, bindings_for, check_objectives, train
from matx.tune.trial_queue import LEASE, TrialQueue, finished_trials

__all__ = ["Request", "tune"]

log = logging.getLogger("matx.tune")
_STOPPING = "stopping; what is under way is given back to the queue"
_STOPS = (signal.SIGINT, signal.SIGTERM)
"""Held back, since in the middle of a write they would spoil the journal's lock; clusters ask by SIGTERM."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for."""

    trials: int = 50
    """The total, those of earlier commands included."""
    folder: Path | None = None
    storage: str | None = None
    jobs: int | None = None
    """Processes on this machine; None: one a core, or one on a GPU."""
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
    with _quiet(), deferred_signals(display.say, _STOPPING, _STOPS) as stopped, storage_errors(where):
        context = opened(
            loaded,
            folder,
            storage=request.storage,
            jobs=jobs,
            device=device,
            display=display,
            work=work,
            stopped=stopped,
        )
        queue = TrialQueue(
            context.study,
            total=_total(request.trials, context, len(starts)),
            space=distributions(context.tune.axes),
            lease=request.lease,
        )
        queue.enqueue(starts)
        try:
            _search(context, queue)
            final = conclude(context, queue.trials(), starts)
            write_reports(folder, context.study, context.tune, final)
        except KeyboardInterrupt as stop:
            write_reports(folder, context.study, context.tune)
            raise Interrupted(f"the same command continues the study {folder.path}") from stop
        finally:
            context.pool.dismiss()
            close_storage(context.storage)
    return folder, final


def _check(experiment: Experiment, request: Request) -> tuple[str, int]:
    """(device, jobs); OptionError for what cannot be searched."""
    declared = experiment.tune
    if request.trials < 1:
        raise OptionError(f"--trials: got {request.trials}, allowed: 1 or more")
    if request.jobs is not None and request.jobs < 1:
        raise OptionError(f"--jobs: got {request.jobs}, allowed: 1 or more")
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
    device = find_device(request.device)
    cores = usable_cores() if device.type == "cpu" else max(1, torch.cuda.device_count())
    return str(device), request.jobs or cores


def _total(trials: int, context: Context, starts: int) -> int:
    """How many slots there are: a grid has no more than its points and the starting points."""
    if len(context.tune.objectives) > 1:
        context.display.say("two objectives: a Pareto front is sought, and no trial is pruned")
    if context.tune.sampler != "grid" or trials <= starts:
        return trials
    context.display.say(f"the grid has {len(context.tune.grid())} points, so the study ends after {starts} trials")
    return starts


def _search(context: Context, queue: TrialQueue) -> None:
    done = finished_trials(queue.trials(), queue.total)
    if done:
        context.display.say(f"continuing {context.folder.path} with {len(done)} of {queue.total} trials done")
    with context.display.bar("trials", queue.total, len(done)) as bar:

        def ended(how: TrialEnd) -> None:
            write_trial(context.folder.trial(how.number), how)
            _show(context, queue, bar, how)

        def task(trial: Trial, position: int) -> Task:
            return Task(
                recipe=str(context.folder.recipe),
                bindings=bindings_for(trial.params),
                folder=str(context.folder.trial(trial.number)),
                objectives=tuple(context.tune.objectives),
                device=context.device_of(position),
                epochs=context.epochs,
                every=context.every,
                train_limit=context.tune.train_limit,
            )

        hand = Hand(queue, context.pool, task, ended, context.epochs, stopped=context.stopped)
        try:
            hand.work()
        finally:
            trained = sum(t.user_attrs.get("outcome", {}).get("seconds", 0.0) for t in queue.trials())
            log.info("the tuner itself took %.1f s; all trials together trained %.1f s", hand.own_seconds, trained)


def _show(context: Context, queue: TrialQueue, bar: Bar, how: TrialEnd) -> None:
    """One line: the trial, the best so far, what was pruned and failed."""
    trials = queue.trials()
    over = finished_trials(trials, queue.total)
    count = {state: sum(trial.state == state for trial in over) for state in TrialState}
    values = ", ".join(f"{value:.4f}" for value in how.values) if how.values else how.reason
    parts = [f"trial {how.number} {how.state}{f' {values}' if values else ''}"]
    if count[TrialState.COMPLETE]:
        best = best_trial(trials, context.tune)
        shown = ", ".join(f"{value:.4f}" for value in best.values)
        parts.append(f"best {shown} (trial {best.number})")
    parts.append(f"{count[TrialState.PRUNED]} pruned, {count[TrialState.FAIL]} failed")
    bar(len(over), " · ".join(parts), line=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without optuna's own log and its remarks on what is experimental; ours says what matters."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
