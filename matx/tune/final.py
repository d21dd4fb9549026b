"""The end of a study: the best, the recipe's own values and the plain corner again on fresh seeds, and best.gin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from matx.compare import paired_t
from matx.config import load_experiment
from matx.errors import RunError
from matx.experiment.tune import Tune
from matx.runtime.files import write_json, write_text
from matx.tune.folder import StudyFolder, write_trial
from matx.tune.storage import open_study
from matx.tune.study import Context
from matx.tune.study_worker import Hand, TrialEnd
from matx.tune.trial import Task, bindings_for
from matx.tune.trial_queue import TrialQueue, finished_trials

__all__ = ["FinalComparison", "PairedDifference", "best_trial", "conclude", "paired_difference", "read_final", "score"]


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """One configuration against another on the same seeds; positive: the first is better."""

    first: str
    second: str
    mean: float
    low: float
    """95 % interval of the mean of the paired differences (Student's t)."""
    high: float
    seeds: int

    def sentence(self) -> str:
        """The comparison in words."""
        interval = f"[{self.low:+.4f}, {self.high:+.4f}] over {self.seeds} seeds"
        return f"{self.first} minus {self.second}: {self.mean:+.4f} {interval}"


@dataclass(frozen=True, kw_only=True)
class FinalComparison:
    """What a study ends with."""

    best: int
    """The number of the best trial."""
    params: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, float]]
    """{configuration: {seed: score}}; higher is better."""
    comparisons: Sequence[PairedDifference]
    takes: bool
    """Whether best.gin takes the best trial's values; otherwise it keeps the recipe's."""
    why: str


def score(values: Sequence[float], tune: Tune) -> float:
    """One number of a trial, higher is better: the mean of its objectives, the sign turned where less is better."""
    turned = [value if way == "maximize" else -value for value, way in zip(values, tune.headings, strict=True)]
    return sum(turned) / len(turned)


def best_trial(trials: Sequence[FrozenTrial], tune: Tune) -> FrozenTrial:
    """The complete trial of the highest score; RunError with what went wrong where there is none."""
    over = finished_trials(trials)
    complete = [trial for trial in over if trial.state == TrialState.COMPLETE]
    if not complete:
        reasons = dict.fromkeys(trial.user_attrs["outcome"].get("reason", "") for trial in over)
        raise RunError(f"no trial has a result, so nothing can be compared: {'; '.join(list(reasons)[:3])}")
    return max(complete, key=lambda trial: (score(trial.values, tune), -trial.number))


def paired_difference(
    first: Mapping[str, float], second: Mapping[str, float], names: tuple[str, str]
) -> PairedDifference | None:
    """The mean of the paired differences with its 95 % t interval; None with fewer than two common seeds."""
    differences = np.array([first[seed] - second[seed] for seed in first if seed in second])
    interval = paired_t(differences)
    if interval is None:
        return None
    mean, count = float(differences.mean()), len(differences)
    return PairedDifference(
        first=names[0], second=names[1], mean=mean, low=interval.low, high=interval.high, seeds=count
    )


def conclude(
    context: Context, trials: Sequence[FrozenTrial], starts: Mapping[str, Mapping[str, Any]]
) -> FinalComparison:
    """Run the best, the recipe's own values and the first corner again, compare them, and write best.gin."""
    best = best_trial(trials, context.tune)
    corner = next((label for label in starts if label.startswith("corner ")), None)
    chosen = {"best": dict(best.params), "recipe": dict(starts["recipe"])}
    if corner is not None:
        chosen[corner] = dict(starts[corner])
    found = _rerun(context, chosen)
    pairs = [("best", "recipe"), *([("best", corner), ("recipe", corner)] if corner else [])]
    comparisons = [paired_difference(found[first], found[second], (first, second)) for first, second in pairs]
    takes, why = _decide(best, chosen, comparisons[0])
    final = FinalComparison(
        best=best.number,
        params=best.params,
        scores=found,
        comparisons=[comparison for comparison in comparisons if comparison is not None],
        takes=takes,
        why=why,
    )
    _write_best(context, final)
    _write_front(context, trials)
    write_json(context.folder.final, asdict(final))
    return final


def read_final(folder: StudyFolder) -> FinalComparison | None:
    """The final comparison of a finished study; None where there is none yet."""
    if not folder.final.is_file():
        return None
    stored = json.loads(folder.final.read_text(encoding="utf-8"))
    return FinalComparison(**{**stored, "comparisons": [PairedDifference(**entry) for entry in stored["comparisons"]]})


def _decide(best: FrozenTrial, chosen: Mapping[str, Any], against: PairedDifference | None) -> tuple[bool, str]:
    if chosen["best"] == chosen["recipe"]:
        return False, "the recipe's own values were the best; best.gin keeps them"
    if against is None:
        return False, "too few of the final runs have a score to compare; best.gin keeps the recipe's values"
    if against.low > 0:
        return True, f"the interval excludes 0 ({against.sentence()}); best.gin takes the values of trial {best.number}"
    if against.high < 0:
        return (
            False,
            f"trial {best.number} is worse on fresh seeds ({against.sentence()}); best.gin keeps the recipe's values",
        )
    return False, f"the interval holds 0 ({against.sentence()}); best.gin keeps the recipe's values"


def _rerun(context: Context, chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """{configuration: {seed: score}} of every run that has one; equal configurations share their runs."""
    tune = context.tune
    study = open_study(context.storage, f"{context.study.study_name}.final", tune.headings, context.where)
    study.sampler, study.pruner = optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner()
    starts = {_label(params, seed): params for seed in tune.seeds for params in chosen.values()}
    known = {trial.user_attrs["start"] for trial in study.get_trials(deepcopy=False)}
    queue = TrialQueue(study, total=len(known | set(starts)), space={}, lease=context.lease)
    queue.enqueue(starts)
    total, done = queue.total, [len(finished_trials(queue.trials()))]
    with context.display.bar("final runs", total, done[0]) as bar:

        def ended(how: TrialEnd) -> None:
            done[0] += how.state != "lost"
            bar(done[0], f"{how.attrs['start']} {how.state}", line=True)
            write_trial(context.folder.rerun(how.attrs["start"]), how)

        def task(trial: Trial, position: int) -> Task:
            label = trial.user_attrs["start"]
            return Task(
                recipe=str(context.folder.recipe),
                bindings=bindings_for(trial.user_attrs["fixed"]),
                folder=str(context.folder.rerun(label)),
                objectives=tuple(tune.objectives),
                device=context.device_of(position),
                seed=int(label.rpartition(" ")[2]),
                epochs=tune.final_epochs or context.epochs,
                every=context.every,
                train_limit=tune.train_limit,
            )

        Hand(queue, context.pool, task, ended, context.epochs, stopped=context.stopped).work()
    scores = {
        trial.user_attrs["start"]: score(trial.values, tune)
        for trial in finished_trials(queue.trials())
        if trial.state == TrialState.COMPLETE
    }
    return {
        name: {str(seed): scores[_label(params, seed)] for seed in tune.seeds if _label(params, seed) in scores}
        for name, params in chosen.items()
    }


def _label(params: Mapping[str, Any], seed: int) -> str:
    """A configuration's short name, from its values alone, so that all hands agree on it, and a seed."""
    text = json.dumps(sorted(params.items()), default=str)
    return f"{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()} seed {seed}"


def _write_best(context: Context, final: FinalComparison) -> None:
    bindings = bindings_for(final.params) if final.takes else ()
    head = [
        f"# The end of the study {context.folder.path.resolve().name}: {final.why}.",
        "# Paired differences on validation, higher is better, with their 95 % t interval:",
        *(f"#   {comparison.sentence()}" for comparison in final.comparisons),
        f"# The values of trial {final.best}: {', '.join(bindings_for(final.params))}",
        "#",
        f"#   matx run {context.folder.best.name}",
        "#",
    ]
    text = load_experiment([context.folder.recipe], bindings).text
    write_text(context.folder.best, "\n".join(head) + "\n" + text)


def _write_front(context: Context, trials: Sequence[FrozenTrial]) -> None:
    """A gin file for each point of the Pareto front, where there are two objectives."""
    if len(context.tune.objectives) < 2:
        return
    folder = context.folder.path / "front"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("trial-*.gin"):
        old.unlink()
    front = {trial.number for trial in context.study.best_trials}
    for trial in finished_trials(trials):
        if trial.number in front:
            values = zip(context.tune.objectives, trial.values, strict=True)
            head = f"# Trial {trial.number}: " + ", ".join(f"{name} {value:.4f}" for name, value in values) + "\n"
            text = load_experiment([context.folder.recipe], bindings_for(trial.params)).text
            write_text(folder / f"trial-{trial.number:04d}.gin", head + text)
