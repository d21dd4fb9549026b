"""One process that works on a study: it claims trials, has its workers train them, prunes, and records results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from matx.errors import MachineError
from matx.runtime.workers import Event, WorkerPool
from matx.tune.pruning import why_pruned
from matx.tune.trial_queue import TrialQueue, counted_trials, finished_trials

__all__ = ["StudyWorker", "TrialEnd"]

_POLL = 5.0
"""At least so often (seconds) lost trials are looked for."""


@dataclass(frozen=True, kw_only=True)
class TrialEnd:
    """How a trial ended: `complete`, `pruned`, `failed`, or `lost` (to be run again)."""

    number: int
    state: str
    params: Mapping[str, Any]
    values: tuple[float, ...] | None = None
    reason: str | None = None
    epochs: int = 0
    seconds: float = 0.0
    duplicate_of: int | None = None
    """The trial of equal values whose result this is."""
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class StudyWorker:
    """The loop of one process on a study, whose trials are trained by a pool of worker processes."""

    queue: TrialQueue
    pool: WorkerPool[Trial]
    task: Callable[[Trial, int], Any]
    """(trial, position of the worker) -> what the worker is given."""
    on_end: Callable[[TrialEnd], None]
    epochs: int
    """Of a whole trial."""
    exempt: Callable[[Trial], bool] = lambda trial: "start" in trial.user_attrs
    """Trials that are never pruned: the starting points."""
    stopped: Callable[[], bool] = lambda: False
    """Whether the user asked to stop: read between two storage operations, never within one."""
    overhead_seconds: float = 0.0
    """Spent on claiming, recording and pruning."""
    _searched: float = 0.0
    _waiting: list[Trial] = field(default_factory=list)
    """Claimed, but not trained yet, since an equal trial is being trained by some process."""

    def work(self, *, poll: float = _POLL) -> None:
        """Until every slot has its result; on Ctrl-C or an error, trials being trained are queued again.

        The pool stays for the next queue; after an error it is terminated.
        """
        try:
            while True:
                if self.stopped():
                    raise KeyboardInterrupt
                began = time.monotonic()
                self._requeue_lost(poll)
                self._start_trials()
                self.queue.renew()
                busy = bool(self.pool.busy())
                if not busy and self.queue.finished():
                    return
                self.overhead_seconds += time.monotonic() - began
                if not busy:
                    time.sleep(min(poll, 0.5))
                    continue
                for event in self.pool.wait(min(poll, 0.5, self.queue.lease / 8)):
                    began = time.monotonic()
                    self._handle(event)
                    self.overhead_seconds += time.monotonic() - began
        except BaseException:
            self.pool.terminate()
            self.queue.release()
            raise

    def _requeue_lost(self, poll: float) -> None:
        if time.monotonic() - self._searched < poll:
            return
        self._searched = time.monotonic()
        self.queue.requeue_lost()

    def _start_trials(self) -> None:
        """Start what waited for an equal trial, then new claims; no more may wait than there are workers."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.queue.trials()
        for trial in waiting:
            if trial.number in self.queue.leased:
                self._start(trial)
        while self.pool.idle() and len(self._waiting) < self.pool.size:
            claimed = self.queue.claim()
            if claimed is None:
                return
            self._start(claimed)

    def _start(self, trial: Trial) -> None:
        """Train a trial, or copy the result of an equal one: at once, or when that one has ended."""
        equal = self._equal(trial)
        if equal is not None and equal.state.is_finished():
            self._copy_result(trial, equal)
        elif equal is None and self.pool.idle():
            self.pool.assign(trial, self.task(trial, self.pool.free_position()))
        else:
            self._waiting.append(trial)

    def _equal(self, trial: Trial) -> FrozenTrial | None:
        """A trial of equal values that has its result, or that was claimed before and is being trained.

        A failure by crashes is no result. Of two that are being trained the later waits, so that never both do.
        """
        if not self.queue.space:
            return None
        view = self.queue.view
        over = [t for t in finished_trials(view) if t.state != TrialState.FAIL or "crashes" not in t.user_attrs]
        running = [t for t in counted_trials(view, len(view)) if t.state == TrialState.RUNNING]
        earlier = [t for t in running if t.number < trial.number]
        return next((t for t in [*over, *earlier] if t.params == trial.params and t.number != trial.number), None)

    def _copy_result(self, trial: Trial, equal: FrozenTrial) -> None:
        """Record the result of an equal trial as this trial's."""
        past = equal.user_attrs["outcome"]
        first = past.get("duplicate_of", equal.number)
        reason = f"as trial {first}, which has equal values: {past['reason']}" if "reason" in past else None
        outcome = {"duplicate_of": first} | ({"reason": reason} if reason else {})
        values = tuple(equal.values) if equal.values else None
        if equal.state == TrialState.PRUNED:
            for step, value in equal.intermediate_values.items():
                trial.report(value, step)
            self._end(self.queue.prune(trial, **outcome), trial, "pruned", values=values, **outcome)
        elif equal.state == TrialState.COMPLETE:
            self._end(self.queue.complete(trial, equal.values, **outcome), trial, "complete", values=values, **outcome)
        else:
            self._end(self.queue.fail(trial, **outcome), trial, "failed", **outcome)

    def _handle(self, event: Event[Trial]) -> None:
        trial, content = event.job, event.content
        if event.kind == "reported":
            event.worker.reply(self._continues(trial, content))
        elif event.kind == "done":
            self._done(trial, content)
        elif event.kind == "fault":
            raise MachineError(str(content))
        elif event.kind == "failed":
            self._end(self.queue.fail(trial, reason=content), trial, "failed", reason=content)
        else:
            kept = self.queue.crashed(trial, content)
            self._searched = 0.0
            self._end(kept, trial, "lost", reason=f"its worker was {content}")

    def _continues(self, trial: Trial, report: Mapping[str, Any]) -> bool:
        """Whether a trial is trained for another epoch."""
        values, epoch = report["values"], report["epoch"]
        if not all(map(math.isfinite, values)) or trial.number not in self.queue.leased:
            return False
        if len(values) > 1:
            return True
        try:
            trial.report(values[0], epoch)
            return epoch >= self.epochs or self.exempt(trial) or not trial.should_prune()
        except UpdateFinishedTrialError:
            return False

    def _done(self, trial: Trial, content: Mapping[str, Any]) -> None:
        values, epochs, seconds = tuple(content["values"]), int(content["epochs"]), float(content["seconds"])
        outcome: dict[str, Any] = {"epochs": epochs, "seconds": seconds}
        if not all(map(math.isfinite, values)):
            outcome["reason"] = f"its score after epoch {epochs} is {', '.join(map(str, values))}"
            self._end(self.queue.fail(trial, **outcome), trial, "failed", **outcome)
        elif content["stopped"]:
            frozen = next(other for other in self.queue.trials() if other.number == trial.number)
            outcome["reason"] = why_pruned(self.queue.study, frozen, self.epochs)
            self._end(self.queue.prune(trial, **outcome), trial, "pruned", values=values, **outcome)
        else:
            self._end(self.queue.complete(trial, values, **outcome), trial, "complete", values=values, **outcome)

    def _end(self, recorded: bool, trial: Trial, state: str, **how: Any) -> None:
        """Report how a trial ended, unless another process had taken it for lost and reports its retry."""
        if recorded:
            self.on_end(TrialEnd(number=trial.number, state=state, params=trial.params, attrs=trial.user_attrs, **how))
