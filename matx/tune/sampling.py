"""Samplers by name; a sampler that is seeded once would repeat its first draws after every resume."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState

from matx.errors import RunError
from matx.experiment.tune import Axis, Tune
from matx.unpickle import load_plain

__all__ = ["Reseeded", "distributions", "refuse_code", "sampler"]

_STATE = ":optimizer:"
_OPTIMIZER = {("cmaes._cma", "CMA")}
"""What a pickled optimizer is made of, beside arrays."""
_STARTUP = 10
"""Trials drawn at random before a model of the results is trusted."""


class Reseeded(BaseSampler):
    """A sampler made anew for each trial and seeded by its slot: however often a study resumes, no draw repeats."""

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, slot: Callable[[FrozenTrial], int]) -> None:
        self.make = make
        self.seed = seed
        self.slot = slot
        self.inner = self._for(-1)

    def _for(self, slot: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self.make(random.Random(f"{self.seed}/{slot}").getrandbits(31))

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.inner = self._for(self.slot(trial))
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Nothing to do: every trial has its own seed."""


_SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=_STARTUP, constant_liar=True),
    "random": lambda seed: RandomSampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=_STARTUP),
    "cmaes": lambda seed: CmaEsSampler(seed=seed, n_startup_trials=_STARTUP, warn_independent_sampling=False),
    "nsgaii": lambda seed: NSGAIISampler(seed=seed, population_size=20),
    # The points of a grid are queued as starting points, so nothing is drawn but what a larger --trials asks for.
    "grid": lambda seed: RandomSampler(seed=seed),
}


def sampler(tune: Tune, slot: Callable[[FrozenTrial], int]) -> Reseeded:
    """The declared sampler; `slot` gives the slot of a trial."""
    return Reseeded(_SAMPLERS[tune.sampler], tune.seed, slot)


def refuse_code(study: optuna.Study) -> None:
    """Refuse a record in which a state of CMA-ES, which optuna keeps pickled in its trials, holds anything else."""
    for trial in study.get_trials(deepcopy=False):
        parts = {name: value for name, value in trial.system_attrs.items() if _STATE in name}
        for start in dict.fromkeys(name.rpartition(":")[0] for name in parts):
            pieces = [parts.get(f"{start}:{number}", "") for number in range(len(parts))]
            try:
                load_plain(io.BytesIO(bytes.fromhex("".join(pieces))), _OPTIMIZER)
            except Exception as error:  # a pickle raises whatever it likes
                raise RunError(
                    f"study {study.study_name!r}: the state of CMA-ES in trial {trial.number} is not one that optuna "
                    f"wrote ({error}); allowed: another --study"
                ) from error


def distributions(axes: Sequence[Axis]) -> dict[str, BaseDistribution]:
    """The space as optuna draws from it."""
    return {axis.name: _distribution(axis) for axis in axes}


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.kind == "categorical":
        return CategoricalDistribution(axis.choices)
    if axis.kind == "int":
        return IntDistribution(int(axis.low), int(axis.high), step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.kind == "log", step=axis.step)
