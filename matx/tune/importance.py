"""Which searched settings the differences between trials come from, where there are trials enough to say so."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from matx.experiment.tune import Tune

__all__ = ["importance_in_words", "importances", "trials_needed"]

_LEAST = 10
_PER_SETTING = 3
_MOST = 0.75
"""Of two settings one has a larger share than a half by chance alone: 0.64 on average where only noise decides."""


def trials_needed(settings: int) -> int:
    """How many complete trials of different values importance is computed from, at the least.

    With 10 random trials the setting that decides most of the value has the largest share in 95 to 98 % of simulations
    (2 and 3 settings, noise as large as two thirds of its effect), with 5 in 77 to 85 %. Three trials a setting are
    what a tree needs to tell a low, a middle and a high range.
    """
    return max(_LEAST, _PER_SETTING * settings + 1)


def importances(over: Sequence[FrozenTrial], tune: Tune, objective: int) -> dict[str, float]:
    """The share of each setting in the differences between complete trials (fANOVA, Hutter et al. 2014), or none.

    A single setting has them all, which says nothing.
    """
    complete = _different(over)
    values = {trial.values[objective] for trial in complete}
    if len(tune.space) < 2 or len(values) < 2 or len(complete) < trials_needed(len(tune.space)):
        return {}
    directions = [StudyDirection[way.upper()] for way in tune.headings]
    study = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(seed=0))
    study.add_trials(complete)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(
            optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0, n_trees=32),
                target=lambda trial: trial.values[objective],
            )
        )


def importance_in_words(over: Sequence[FrozenTrial], tune: Tune, objective: int) -> list[str]:
    """The shares, and the values of the best trials; or how many trials there would have to be."""
    name, complete, shares = tune.objectives[objective], _different(over), importances(over, tune, objective)
    if len(tune.space) < 2:
        return []
    if not shares:
        needed = trials_needed(len(tune.space))
        why = "all of the same value" if len(complete) >= needed else f"at least {needed} are needed"
        return [f"Importance for {name}: not computed from {len(complete)} complete trials, {why}."]
    maximize = tune.headings[objective] == "maximize"
    top = sorted(complete, key=lambda trial: trial.values[objective], reverse=maximize)[: max(3, len(complete) // 5)]
    said = [f"Importance for {name} (shares of the differences between {len(complete)} complete trials):"]
    for setting, share in sorted(shares.items(), key=lambda item: -item[1]):
        weight = "matters most" if share > _MOST else "matters" if share > 0.1 else "hardly matters"
        said.append(f"  {setting} {weight} ({share:.0%}); the best {len(top)} trials have {_range(top, setting)}")
    return said


def _different(over: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The complete trials, each configuration once."""
    complete = [trial for trial in over if trial.state == TrialState.COMPLETE]
    return list({repr(sorted(trial.params.items())): trial for trial in reversed(complete)}.values())[::-1]


def _range(trials: Sequence[FrozenTrial], setting: str) -> str:
    values = [trial.params[setting] for trial in trials if setting in trial.params]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return f"{min(values):.4g} to {max(values):.4g}"
    return ", ".join(dict.fromkeys(map(repr, values)))
