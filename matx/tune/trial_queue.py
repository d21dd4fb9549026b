"""Which process runs which trial of a study: each slot gets exactly one result, whichever process is killed.

There is no lock. Trial numbers are unique and dense in every storage, so all processes derive from the trials alone
which of them count: of those with the same claim (a starting point's label, the retry of one lost trial) the first; of
the others the first `total`. A trial that does not count is marked as surplus and never run.
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

__all__ = ["HOST", "LEASE", "TrialQueue", "counted_trials", "finished_trials", "is_lost", "slot_of"]

# A storage does not say that a client was killed (optuna has heartbeats for databases alone), so a running trial
# carries a lease: a text that its owner changes every quarter of this time. Whoever sees no change for the whole time,
# on its own clock, since the clocks of machines need not agree, takes the trial for lost and queues it again.
LEASE = 60.0
"""Seconds without a change of its lease after which a trial is queued again."""
HOST = socket.gethostname()
"""This machine's name in leases."""
_MAX_CRASHES = 3
"""A configuration whose worker crashed so many times is recorded as failed."""
_NEAR = 16
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


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
    """The counted trials that are complete, pruned, or failed for a reason; at most one a slot, in their order."""
    counted = counted_trials(trials, len(trials) if total is None else total)
    retried = {trial.user_attrs.get("retry_of") for trial in counted}
    over = [t for t in counted if t.state in _FINISHED and not is_lost(t) and t.number not in retried]
    return sorted(over, key=lambda trial: int(trial.user_attrs.get("slot", trial.number)))


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial failed without an outcome, so that another one has its slot."""
    return trial.state == TrialState.FAIL and "outcome" not in trial.user_attrs


def slot_of(study: optuna.Study, trial: FrozenTrial) -> int:
    """The number that a trial would have if none had been interrupted; a retry has that of the trial that it repeats.

    Draws and pruning brackets are seeded by it, so that an interruption changes neither.
    """
    if "slot" in trial.user_attrs:
        return int(trial.user_attrs["slot"])
    earlier = [other for other in study.get_trials(deepcopy=False) if other.number < trial.number]
    return trial.number - sum("retry_of" in other.user_attrs for other in earlier)


def _claim(trial: FrozenTrial) -> tuple[str, Any]:
    attrs = trial.user_attrs
    if "retry_of" in attrs:
        return "retry", attrs["retry_of"]
    return ("start", attrs["start"]) if "start" in attrs else ("own", trial.number)


class TrialQueue:
    """One process's view of a study: claims trials, renews their leases, records outcomes, and queues lost ones."""

    def __init__(
        self, study: optuna.Study, *, total: int, space: Mapping[str, BaseDistribution], lease: float = LEASE
    ) -> None:
        self.study = study
        self.total = total
        self.space = dict(space)
        self.lease = lease
        self.leased: dict[int, Trial] = {}
        self.view: list[FrozenTrial] = []
        self._changes = itertools.count()
        self._renewed = time.monotonic()
        self._seen: dict[int, tuple[str, float]] = {}

    def trials(self) -> list[FrozenTrial]:
        """Every trial as the storage has it now; `view` keeps them until the next call."""
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
            counted = {other.number: other for other in counted_trials(self.trials(), self.total)}
            if trial.number in counted:
                trial.set_user_attr("lease", self._new_lease())
                trial.set_user_attr("slot", slot_of(self.study, counted[trial.number]))
                self.leased[trial.number] = trial
                return trial
            trial.set_user_attr("surplus", True)
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def finished(self) -> bool:
        """Whether every slot has its result."""
        return len(finished_trials(self.trials(), self.total)) >= self.total

    def renew(self) -> None:
        """Change the leases of this process's trials, where it is due."""
        if time.monotonic() - self._renewed < self.lease / 4:
            return
        self._renewed = time.monotonic()
        for trial in list(self.leased.values()):
            try:
                trial.set_user_attr("lease", self._new_lease())
            except UpdateFinishedTrialError:
                del self.leased[trial.number]

    def requeue_lost(self) -> list[int]:
        """Fail the trials whose lease has run out, and queue every lost trial again; the numbers of the lost."""
        for trial in self.trials():
            if trial.state == TrialState.RUNNING and trial.number not in self.leased and self._expired(trial):
                self._tell(trial.number, TrialState.FAIL)
        return self._queue_lost()

    def complete(self, trial: Trial, values: Sequence[float], **outcome: Any) -> bool:
        """Record a result; False where another process had taken the trial for lost."""
        return self._finish(trial, TrialState.COMPLETE, values, outcome=outcome)

    def prune(self, trial: Trial, **outcome: Any) -> bool:
        """Record that a trial was stopped early; the outcome has the reason."""
        return self._finish(trial, TrialState.PRUNED, outcome=outcome)

    def fail(self, trial: Trial, **outcome: Any) -> bool:
        """Record that a trial has no result; the outcome has the reason."""
        return self._finish(trial, TrialState.FAIL, outcome=outcome)

    def crashed(self, trial: Trial, how: str) -> bool:
        """Queue a trial whose worker crashed again, unless its worker crashes every time."""
        crashes = [*trial.user_attrs.get("crashes", ()), how]
        if len(crashes) >= _MAX_CRASHES:
            return self.fail(trial, reason=f"its worker crashed {len(crashes)} times: {'; '.join(crashes)}")
        return self._finish(trial, TrialState.FAIL, crashes=crashes)

    def release(self) -> None:
        """Queue this process's trials again, for whichever process continues."""
        for trial in list(self.leased.values()):
            self._finish(trial, TrialState.FAIL)
        self._queue_lost()

    def _free(self) -> bool:
        """Whether there may be a trial to claim; far from the end the last view says so without reading the storage."""
        if 0 < len(self.view) < self.total - _NEAR:
            return True
        trials = self.trials()
        slots = [t for t in counted_trials(trials, self.total) if _claim(t)[0] != "retry"]
        return len(slots) < self.total or any(t.state == TrialState.WAITING for t in trials)

    def _queue_lost(self) -> list[int]:
        counted = counted_trials(self.trials(), self.total)
        retried = {trial.user_attrs.get("retry_of") for trial in counted}
        lost = [trial for trial in counted if is_lost(trial) and trial.number not in retried]
        for trial in lost:
            values = {**trial.user_attrs.get("fixed", {}), **trial.params}
            attrs: dict[str, Any] = {
                str(name): value for name, value in trial.user_attrs.items() if name in ("start", "crashes")
            }
            attrs |= {"fixed": values, "retry_of": trial.number, "slot": slot_of(self.study, trial)}
            self.study.enqueue_trial(values, user_attrs=attrs)
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

    def _new_lease(self) -> str:
        return f"{HOST} {os.getpid()} {next(self._changes)}"

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
        except (UpdateFinishedTrialError, ValueError):  # optuna raises ValueError where it checks before it writes
            return False
        return True


def _owner_is_gone(lease: str) -> bool:
    """Whether a lease names a process of this machine that has ended."""
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
