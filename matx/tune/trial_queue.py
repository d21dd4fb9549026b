"""Who runs which trial: slots that are neither lost nor doubled, however many hands there are and whoever is killed.

There is no lock. Numbers of trials are unique and dense in every storage, so all hands agree on who is entitled from
the trials alone: of those with the same claim (a starting point's label, the retry of one lost trial) the first; of the
others the first `total`. A trial that turns out to be surplus is marked and never run. A trial whose lease does not
change any more (seen on the observer's own clock, so clocks need not agree) is failed without a reason, and whatever
failed without a reason is queued again.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

__all__ = ["HOST", "LEASE", "TrialQueue", "counted_trials", "finished_trials"]

LEASE = 60.0
"""Seconds without a sign of life after which a trial is run again by somebody else."""
HOST = socket.gethostname()
"""How this machine is called in leases."""
_DEATHS = 3
"""A configuration that took so many workers with it is recorded as failed."""
_NEAR = 16
_OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def counted_trials(trials: Sequence[FrozenTrial], total: int) -> list[FrozenTrial]:
    """The trials that count, retries included: one for each claim, and `total` slots."""
    claims: set[tuple[str, Any]] = set()
    numbers: set[int] = set()
    slots, found = 0, []
    for trial in sorted(trials, key=lambda trial: trial.number):
        claim = _claim(trial)
        if trial.user_attrs.get("surplus") or claim in claims:
            continue
        retry = claim[0] == "retry"
        if (retry and claim[1] not in numbers) or (not retry and slots >= total):
            continue
        claims.add(claim)
        numbers.add(trial.number)
        slots += not retry
        found.append(trial)
    return found


def finished_trials(trials: Sequence[FrozenTrial], total: int | None = None) -> list[FrozenTrial]:
    """The trials that are over and stand: complete, pruned, or failed for a reason; one for each slot at most."""
    counted = counted_trials(trials, len(trials) if total is None else total)
    retried = {trial.user_attrs.get("retry_of") for trial in counted}
    return [t for t in counted if t.state in _OVER and not _lost(t) and t.number not in retried]


def _claim(trial: FrozenTrial) -> tuple[str, Any]:
    attrs = trial.user_attrs
    if "retry_of" in attrs:
        return "retry", attrs["retry_of"]
    return ("start", attrs["start"]) if "start" in attrs else ("own", trial.number)


def _lost(trial: FrozenTrial) -> bool:
    """Whether a trial must be run again: failed without an outcome."""
    return trial.state == TrialState.FAIL and "outcome" not in trial.user_attrs


class TrialQueue:
    """One hand's view of a study: claims trials, keeps their leases, tells their outcomes, and finds lost ones."""

    def __init__(
        self, study: optuna.Study, *, total: int, space: Mapping[str, BaseDistribution], lease: float = LEASE
    ) -> None:
        self.study = study
        self.total = total
        self.space = dict(space)
        self.lease = lease
        self.leased: dict[int, Trial] = {}
        self.view: list[FrozenTrial] = []
        self._beats = itertools.count()
        self._renewed = time.monotonic()
        self._seen: dict[int, tuple[str, float]] = {}

    def trials(self) -> list[FrozenTrial]:
        """Every trial as the storage has it now; `view` keeps them until the next look."""
        self.view = self.study.get_trials(deepcopy=False)
        return self.view

    def enqueue(self, starts: Mapping[str, Mapping[str, Any]]) -> None:
        """Queue starting points by label, those that are not there yet, up to `total`."""
        known = {t.user_attrs.get("start") for t in self.trials() if not t.user_attrs.get("surplus")}
        for label, values in list(starts.items())[: self.total]:
            if label not in known:
                self.study.enqueue_trial(dict(values), user_attrs={"start": label, "fixed": dict(values)})

    def claim(self) -> Trial | None:
        """A trial to run, its values drawn and its lease begun; None where nothing is free now."""
        while self._free():
            trial = self.study.ask(fixed_distributions=self.space)
            if any(trial.number == other.number for other in counted_trials(self.trials(), self.total)):
                trial.set_user_attr("lease", self._beat())
                self.leased[trial.number] = trial
                return trial
            trial.set_user_attr("surplus", True)
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def finished(self) -> bool:
        """Whether every slot has its result."""
        return len(finished_trials(self.trials(), self.total)) >= self.total

    def renew(self) -> None:
        """Sign of life of the trials held, where it is due."""
        if time.monotonic() - self._renewed < self.lease / 4:
            return
        self._renewed = time.monotonic()
        for trial in list(self.leased.values()):
            try:
                trial.set_user_attr("lease", self._beat())
            except UpdateFinishedTrialError:
                del self.leased[trial.number]

    def reap(self) -> list[int]:
        """Fail the trials whose owner is gone, and queue every lost trial again; the numbers of the lost."""
        for trial in self.trials():
            if trial.state == TrialState.RUNNING and trial.number not in self.leased and self._expired(trial):
                self._tell(trial.number, TrialState.FAIL)
        return self._queue_lost()

    def complete(self, trial: Trial, values: Sequence[float], **outcome: Any) -> bool:
        """Record a result; False where the trial was taken away meanwhile."""
        return self._finish(trial, TrialState.COMPLETE, values, outcome=outcome)

    def prune(self, trial: Trial, **outcome: Any) -> bool:
        """Record that a trial was stopped early; the outcome holds the reason."""
        return self._finish(trial, TrialState.PRUNED, outcome=outcome)

    def fail(self, trial: Trial, **outcome: Any) -> bool:
        """Record that a trial has no result; the outcome holds the reason."""
        return self._finish(trial, TrialState.FAIL, outcome=outcome)

    def died(self, trial: Trial, how: str) -> bool:
        """The worker of a trial died: run it again, unless that happens every time."""
        deaths = [*trial.user_attrs.get("deaths", ()), how]
        if len(deaths) >= _DEATHS:
            return self.fail(trial, reason=f"its worker died {len(deaths)} times: {'; '.join(deaths)}")
        return self._finish(trial, TrialState.FAIL, deaths=deaths)

    def release(self) -> None:
        """Give back what is held, to be run again by whoever continues."""
        for trial in list(self.leased.values()):
            self._finish(trial, TrialState.FAIL)
        self._queue_lost()

    def _free(self) -> bool:
        """Whether there may be a trial to claim; far from the end an old view says so without a look at the storage."""
        if 0 < len(self.view) < self.total - _NEAR:
            return True
        trials = self.trials()
        slots = [t for t in counted_trials(trials, self.total) if _claim(t)[0] != "retry"]
        return len(slots) < self.total or any(t.state == TrialState.WAITING for t in trials)

    def _queue_lost(self) -> list[int]:
        counted = counted_trials(self.trials(), self.total)
        retried = {trial.user_attrs.get("retry_of") for trial in counted}
        lost = [trial for trial in counted if _lost(trial) and trial.number not in retried]
        for trial in lost:
            values = {**trial.user_attrs.get("fixed", {}), **trial.params}
            attrs: dict[str, Any] = {
                name: trial.user_attrs[name] for name in ("start", "deaths") if name in trial.user_attrs
            }
            attrs.update(fixed=values, retry_of=trial.number)
            self.study.enqueue_trial(values, user_attrs={str(name): value for name, value in attrs.items()})
        return [trial.number for trial in lost]

    def _expired(self, trial: FrozenTrial) -> bool:
        lease = str(trial.user_attrs.get("lease", ""))
        if _owner_is_gone(lease):
            return True
        seen, since = self._seen.setdefault(trial.number, (lease, time.monotonic()))
        if seen != lease:
            self._seen[trial.number] = (lease, time.monotonic())
            return False
        return time.monotonic() - since > self.lease

    def _beat(self) -> str:
        return f"{HOST} {os.getpid()} {next(self._beats)}"

    def _finish(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None, **attrs: Any) -> bool:
        self.leased.pop(trial.number, None)
        try:
            for name, value in attrs.items():
                trial.set_user_attr(name, value)
        except UpdateFinishedTrialError:
            return False
        return self._tell(trial.number, state, values)

    def _tell(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        try:
            self.study.tell(number, list(values) if values is not None else None, state=state)
        except (UpdateFinishedTrialError, ValueError):  # optuna says ValueError where it looks before it writes
            return False
        return True


def _owner_is_gone(lease: str) -> bool:
    """Whether a lease names a process of this machine that is no more."""
    host, _, rest = lease.partition(" ")
    process = rest.partition(" ")[0]
    if host != HOST or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
