"""Pruners by name; a retry is judged as the trial that it repeats, and a reason says what was compared."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from matx.experiment.tune import Tune
from matx.tune.trial_queue import is_lost

__all__ = ["SlotHyperband", "pruner", "why_pruned"]

_FACTOR = 3
_NO_BRACKET = -1


class SlotHyperband(HyperbandPruner):
    """Hyperband with brackets that are drawn by slot, and in which a lost trial does not compete with its own retry.

    optuna draws a bracket by the trial's number, which a retry does not share with the trial that it repeats. Brackets
    are drawn in this one method alone, which no public one reaches.
    """

    def __init__(self, slot: Callable[[FrozenTrial], int], *, min_resource: int, max_resource: int) -> None:
        super().__init__(min_resource=min_resource, max_resource=max_resource, reduction_factor=_FACTOR)
        self.slot = slot

    def _get_bracket_id(self, study: optuna.Study, trial: FrozenTrial) -> int:
        if not self._pruners:
            self._try_initialization(study)
        if is_lost(trial):
            return _NO_BRACKET
        numbered = copy.copy(trial)
        numbered.number = self.slot(trial)
        return super()._get_bracket_id(study, numbered)

    def rivals(self, study: optuna.Study, trial: FrozenTrial, rung: str) -> list[float]:
        """The values of every trial of a trial's bracket at a rung, its own included."""
        bracket = self._get_bracket_id(study, trial)
        trials = [other for other in study.get_trials(deepcopy=False) if rung in other.system_attrs]
        return [other.system_attrs[rung] for other in trials if self._get_bracket_id(study, other) == bracket]


def pruner(tune: Tune, slot: Callable[[FrozenTrial], int], *, epochs: int, every: int) -> BasePruner:
    """The declared pruner for trials of so many epochs, validated every so many; none with two objectives."""
    if tune.pruner == "none" or len(tune.objectives) > 1:
        return NopPruner()
    if tune.pruner == "median":
        return MedianPruner(n_startup_trials=5)
    return SlotHyperband(slot, min_resource=min(every, epochs), max_resource=epochs)


def why_pruned(study: optuna.Study, trial: FrozenTrial, epochs: int) -> str:
    """Why a trial of so many epochs was pruned: what the pruner compared its value with."""
    epoch = trial.last_step
    assert epoch is not None, "a trial without a value is not pruned"
    name = "hyperband" if isinstance(study.pruner, HyperbandPruner) else "median"
    said = f"pruned by {name} after epoch {epoch} of {epochs} at {trial.intermediate_values[epoch]:.4f}"
    if isinstance(study.pruner, SlotHyperband):
        compared = _by_rung(study, study.pruner, trial)
    else:
        compared = _by_median(study, trial, epoch)
    return f"{said}; {compared}" if compared else said


def _by_rung(study: optuna.Study, hyperband: SlotHyperband, trial: FrozenTrial) -> str:
    rungs = [name for name in trial.system_attrs if name.startswith("completed_rung_")]
    if not rungs:
        return ""
    rung = max(rungs, key=lambda name: int(name.rpartition("_")[2]))
    values = _best_first(hyperband.rivals(study, trial, rung), study)
    count = max(1, len(values) // _FACTOR)
    least, own = values[count - 1], trial.system_attrs[rung]
    if _best_first([own, least], study)[0] == own:
        return ""  # other processes have recorded values since it was pruned, so these are not those it was judged by
    kept = f"the best {count}, down to" if count > 1 else "the best one, with"
    return f"of {len(values)} trials of its bracket at this stage Hyperband continues {kept} {least:.4f}"


def _by_median(study: optuna.Study, trial: FrozenTrial, epoch: int) -> str:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = [other.intermediate_values[epoch] for other in complete if epoch in other.intermediate_values]
    if not values:
        return ""
    best, median = _best_first(list(trial.intermediate_values.values()), study)[0], float(np.median(values))
    if _best_first([best, median], study)[0] == best:
        return ""
    return f"its best up to there, {best:.4f}, is worse than {median:.4f}, the median of {len(values)} complete trials"


def _best_first(values: Sequence[Any], study: optuna.Study) -> list[Any]:
    return sorted(values, reverse=study.direction == StudyDirection.MAXIMIZE)
