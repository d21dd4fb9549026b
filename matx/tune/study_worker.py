"""The loop of one hand: claim trials, give them to workers, prune from their epochs, record how each ended."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from matx.runtime.workers import Event, WorkerPool
from matx.tune.trial_queue import TrialQueue, counted_trials, finished_trials

__all__ = ["Hand", "TrialEnd"]

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
    answered_by: int | None = None
    """The trial of equal values whose result this is."""
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Hand:
    """One process that works on a study, with its pool."""

    queue: TrialQueue
    pool: WorkerPool[Trial]
    task: Callable[[Trial, int], Any]
    """(trial, position of the worker) -> what the worker is given."""
    ended: Callable[[TrialEnd], None]
    epochs: int
    """Of a whole trial, for reasons in words."""
    exempt: Callable[[Trial], bool] = lambda trial: "start" in trial.user_attrs
    """Trials that are never pruned: the starting points."""
    stopped: Callable[[], bool] = lambda: False
    """Whether the user wants an end: heard between two looks at the record, never in the middle of one."""
    own_seconds: float = 0.0
    """What the tuner itself took: claiming, recording, pruning."""
    _looked: float = 0.0
    _waiting: list[Trial] = field(default_factory=list)
    """Held, but not trained yet, since an equal one is under way somewhere."""

    def work(self, *, poll: float = _POLL) -> None:
        """Until every slot has its result; on Ctrl-C or an error what is under way is given back to the queue.

        The pool stays, for the next queue; after an error it is dismissed.
        """
        try:
            while True:
                if self.stopped():
                    raise KeyboardInterrupt
                began = time.monotonic()
                self._look_around(poll)
                self._hand_out()
                self.queue.renew()
                busy = bool(self.pool.busy())
                if not busy and self.queue.finished():
                    return
                self.own_seconds += time.monotonic() - began
                if not busy:
                    time.sleep(min(poll, 0.5))
                    continue
                for event in self.pool.wait(min(poll, 0.5, self.queue.lease / 8)):
                    began = time.monotonic()
                    self._hear(event)
                    self.own_seconds += time.monotonic() - began
        except BaseException:
            self.pool.dismiss()
            self.queue.release()
            raise

    def _look_around(self, poll: float) -> None:
        if time.monotonic() - self._looked < poll:
            return
        self._looked = time.monotonic()
        self.queue.reap()

    def _hand_out(self) -> None:
        """Take what waited for an equal trial, then new claims; no more may wait than there are workers."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.queue.trials()
        for held in waiting:
            if held.number in self.queue.leased:
                self._take(held)
        while self.pool.idle() and len(self._waiting) < self.pool.size:
            trial = self.queue.claim()
            if trial is None:
                return
            self._take(trial)

    def _take(self, trial: Trial) -> None:
        """Train a trial, or answer it from the record: at once, or when the equal one that is under way has ended."""
        twin = self._twin(trial)
        if twin is not None and twin.state.is_finished():
            self._answer(trial, twin)
        elif twin is None and self.pool.idle():
            self.pool.give(trial, self.task(trial, self.pool.free_position()))
        else:
            self._waiting.append(trial)

    def _twin(self, trial: Trial) -> FrozenTrial | None:
        """A trial of equal values that has its result, or that was claimed before and is under way.

        What a worker's death decided is no result. Of two under way the later waits, so that never both do.
        """
        if not self.queue.space:
            return None
        view = self.queue.view
        over = [t for t in finished_trials(view) if t.state != TrialState.FAIL or "deaths" not in t.user_attrs]
        under_way = [
            t for t in counted_trials(view, len(view)) if t.state == TrialState.RUNNING and t.number < trial.number
        ]
        return next((t for t in [*over, *under_way] if t.params == trial.params and t.number != trial.number), None)

    def _answer(self, trial: Trial, twin: FrozenTrial) -> None:
        """Record the twin's result again."""
        past = twin.user_attrs["outcome"]
        first = past.get("answered_by", twin.number)
        reason = f"as trial {first}, which has equal values: {past['reason']}" if "reason" in past else None
        outcome = {"answered_by": first} | ({"reason": reason} if reason else {})
        values = tuple(twin.values) if twin.values else None
        if twin.state == TrialState.PRUNED:
            for step, value in twin.intermediate_values.items():
                trial.report(value, step)
            self._end(self.queue.prune(trial, **outcome), trial, "pruned", values=values, **outcome)
        elif twin.state == TrialState.COMPLETE:
            self._end(self.queue.complete(trial, twin.values, **outcome), trial, "complete", values=values, **outcome)
        else:
            self._end(self.queue.fail(trial, **outcome), trial, "failed", **outcome)

    def _hear(self, event: Event[Trial]) -> None:
        trial, content = event.job, event.content
        if event.kind == "told":
            event.worker.answer(self._goes_on(trial, content))
        elif event.kind == "done":
            self._done(trial, content)
        elif event.kind == "failed":
            self._end(self.queue.fail(trial, reason=content), trial, "failed", reason=content)
        else:
            kept = self.queue.died(trial, content)
            self._looked = 0.0
            self._end(kept, trial, "lost", reason=f"its worker was {content}")

    def _goes_on(self, trial: Trial, told: Mapping[str, Any]) -> bool:
        """Whether a trial is worth its next epoch."""
        values, epoch = told["values"], told["epoch"]
        if not all(map(math.isfinite, values)) or trial.number not in self.queue.leased:
            return False
        if len(values) > 1:
            return True
        try:
            trial.report(values[0], epoch)
        except UpdateFinishedTrialError:
            return False
        return epoch >= self.epochs or self.exempt(trial) or not trial.should_prune()

    def _done(self, trial: Trial, content: Mapping[str, Any]) -> None:
        values, epochs, seconds = tuple(content["values"]), int(content["epochs"]), float(content["seconds"])
        outcome: dict[str, Any] = {"epochs": epochs, "seconds": seconds}
        if not all(map(math.isfinite, values)):
            outcome["reason"] = f"its score after epoch {epochs} is {', '.join(map(str, values))}"
            self._end(self.queue.fail(trial, **outcome), trial, "failed", **outcome)
        elif content["stopped"]:
            outcome["reason"] = self._why(trial, values[0], epochs)
            self._end(self.queue.prune(trial, **outcome), trial, "pruned", values=values, **outcome)
        else:
            self._end(self.queue.complete(trial, values, **outcome), trial, "complete", values=values, **outcome)

    def _end(self, kept: bool, trial: Trial, state: str, **how: Any) -> None:
        """Tell how a trial ended; nothing where it had been taken away, since somebody else tells it."""
        if kept:
            self.ended(TrialEnd(number=trial.number, state=state, params=trial.params, attrs=trial.user_attrs, **how))

    def _why(self, trial: Trial, value: float, epoch: int) -> str:
        """Why a trial was pruned, in words."""
        others = [
            other.intermediate_values[epoch]
            for other in self.queue.trials()
            if other.number != trial.number and epoch in other.intermediate_values
        ]
        pruner = type(self.queue.study.pruner).__name__.removesuffix("Pruner").lower()
        said = f"pruned by {pruner} after epoch {epoch} of {self.epochs}: {value:.4f} there"
        return f"{said}; {_compared(others, self.queue.study.directions)}" if others else said


def _compared(others: Sequence[float], directions: Sequence[StudyDirection]) -> str:
    ordered = sorted(others, reverse=directions[0] == StudyDirection.MAXIMIZE)
    count = f"{len(ordered)} other trials had" if len(ordered) > 1 else "one other trial had"
    return f"{count} a median of {ordered[len(ordered) // 2]:.4f} and a best of {ordered[0]:.4f} at that epoch"
