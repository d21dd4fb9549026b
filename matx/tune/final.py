"""The end of a study: the best, the recipe's own values and the first corner again on fresh seeds, and best.gin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from matx.compare import paired_t
from matx.config import load_experiment
from matx.errors import RunError
from matx.experiment.tune import Tune
from matx.runtime.files import write_json, write_text
from matx.tune.storage import load_or_create
from matx.tune.study import OpenStudy, Resources
from matx.tune.study_folder import StudyFolder, write_trial
from matx.tune.study_worker import StudyWorker, TrialEnd
from matx.tune.trial import Task, bindings_for
from matx.tune.trial_queue import TrialQueue, finished_trials

__all__ = [
    "FinalComparison",
    "PairedDifference",
    "best_trial",
    "conclude",
    "mean_objective",
    "paired_difference",
    "read_final",
]


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The mean of one configuration's values minus another's on the same seeds; positive: the first is better."""

    first: str
    second: str
    mean: float
    low: float
    """95 % interval of the mean of the paired differences (Student's t)."""
    high: float
    seeds: int

    def sentence(self) -> str:
        """The difference in words."""
        interval = f"[{self.low:+.4f}, {self.high:+.4f}] over {self.seeds} seeds"
        return f"{self.first} minus {self.second}: {self.mean:+.4f} {interval}"


@dataclass(frozen=True, kw_only=True)
class FinalComparison:
    """The best configuration against the recipe's own on fresh seeds, and which of them best.gin has."""

    best: int
    """The number of the best trial."""
    params: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, float]]
    """{configuration: {seed: mean objective}}; higher is better."""
    comparisons: Sequence[PairedDifference]
    takes: bool
    """Whether best.gin takes the best trial's values; otherwise it keeps the recipe's."""
    why: str


def mean_objective(values: Sequence[float], tune: Tune) -> float:
    """The mean of a trial's objectives, negated where they are minimised: higher is better."""
    signed = [value if way == "maximize" else -value for value, way in zip(values, tune.headings, strict=True)]
    return sum(signed) / len(signed)


def best_trial(trials: Sequence[FrozenTrial], tune: Tune) -> FrozenTrial:
    """The complete trial of the highest mean objective, of equal ones that of the first slot.

    RunError with the reasons where no trial is complete.
    """
    over = finished_trials(trials)
    complete = [trial for trial in over if trial.state == TrialState.COMPLETE]
    if not complete:
        reasons = dict.fromkeys(trial.user_attrs["outcome"].get("reason", "") for trial in over)
        raise RunError(f"no trial has a result, so nothing can be compared: {'; '.join(list(reasons)[:3])}")
    return max(complete, key=lambda trial: mean_objective(trial.values, tune))


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
    opened: OpenStudy, resources: Resources, trials: Sequence[FrozenTrial], starts: Mapping[str, Mapping[str, Any]]
) -> FinalComparison:
    """Run the best, the recipe's own values and the first corner again, compare them, and write best.gin."""
    best = best_trial(trials, opened.tune)
    corner = next((label for label in starts if label.startswith("corner ")), None)
    chosen = {"best": dict(best.params), "recipe": dict(starts["recipe"])}
    if corner is not None:
        chosen[corner] = dict(starts[corner])
    found = _rerun(opened, resources, chosen)
    pairs = [("best", "recipe"), *([("best", corner), ("recipe", corner)] if corner else [])]
    comparisons = [paired_difference(found[first], found[second], (first, second)) for first, second in pairs]
    takes, why = _decide(best, chosen, comparisons[0], opened.tune.seeds)
    final = FinalComparison(
        best=best.number,
        params=best.params,
        scores=found,
        comparisons=[comparison for comparison in comparisons if comparison is not None],
        takes=takes,
        why=why,
    )
    _write_best(opened, final)
    _write_front(opened, trials)
    write_json(opened.folder.final, asdict(final))
    return final


def read_final(folder: StudyFolder) -> FinalComparison | None:
    """The final comparison of a finished study; None where there is none yet."""
    if not folder.final.is_file():
        return None
    try:
        stored = json.loads(folder.final.read_text(encoding="utf-8"))
        pairs = [PairedDifference(**entry) for entry in stored["comparisons"]]
        return FinalComparison(**{**stored, "comparisons": pairs})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{folder.final}: damaged ({type(error).__name__}: {error}); the command that ran the study makes it again"
        ) from error


def _decide(
    best: FrozenTrial, chosen: Mapping[str, Any], against: PairedDifference | None, seeds: Sequence[int]
) -> tuple[bool, str]:
    if chosen["best"] == chosen["recipe"]:
        return False, "the recipe's own values were the best; best.gin keeps them"
    if not against and not seeds:
        return (
            True,
            f"no final runs were asked for; best.gin takes the values of trial {best.number}, untested",
        )
    if against is None:
        return False, "too few of the final runs have a score to compare; best.gin keeps the recipe's values"
    if against.low > 0:
        return True, f"the interval excludes 0 ({against.sentence()}); best.gin takes the values of trial {best.number}"
    if against.high < 0:
        return (
            False,
            f"trial {best.number} is worse on fresh seeds ({against.sentence()}); best.gin keeps the recipe's values",
        )
    return False, f"the interval contains 0 ({against.sentence()}); best.gin keeps the recipe's values"


def _rerun(
    opened: OpenStudy, resources: Resources, chosen: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """{configuration: {seed: mean objective}} of every run that has one; equal configurations share their runs."""
    tune = opened.tune
    study = load_or_create(opened.storage, f"{opened.study.study_name}.final", tune.headings, opened.where)
    study.sampler, study.pruner = optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner()
    starts = {_label(params, seed): params for seed in tune.seeds for params in chosen.values()}
    known = {trial.user_attrs["start"] for trial in study.get_trials(deepcopy=False)}
    queue = TrialQueue(study, total=len(known | set(starts)), space={}, lease=resources.lease)
    queue.enqueue(starts)
    done = [len(finished_trials(queue.trials()))]
    with resources.display.bar("final runs", queue.total, done[0]) as bar:

        def on_end(end: TrialEnd) -> None:
            done[0] += end.state != "lost"
            bar(done[0], f"{end.attrs['start']} {end.state}", line=True)
            write_trial(opened.folder.rerun(end.attrs["start"]), end)

        def task(trial: Trial, position: int) -> Task:
            label = trial.user_attrs["start"]
            params, device = trial.user_attrs["fixed"], resources.device_of(position)
            whole = opened.task(params, opened.folder.rerun(label), device, resources.processes)
            return replace(whole, seed=int(label.rpartition(" ")[2]), epochs=opened.tune.final_epochs or opened.epochs)

        StudyWorker(queue, resources.pool, task, on_end, opened.epochs, stopped=resources.stopped).work()
    values = {
        trial.user_attrs["start"]: mean_objective(trial.values, tune)
        for trial in finished_trials(queue.trials())
        if trial.state == TrialState.COMPLETE
    }
    return {
        name: {str(seed): values[_label(params, seed)] for seed in tune.seeds if _label(params, seed) in values}
        for name, params in chosen.items()
    }


def _label(params: Mapping[str, Any], seed: int) -> str:
    """A configuration's short name, from its values alone, so that all processes agree on it, and a seed."""
    text = json.dumps(sorted(params.items()), default=str)
    return f"{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()} seed {seed}"


def _write_best(opened: OpenStudy, final: FinalComparison) -> None:
    bindings = bindings_for(final.params) if final.takes else ()
    head = [
        f"# The end of the study {opened.folder.path.resolve().name}: {final.why}.",
        "# Paired differences on validation, higher is better, with their 95 % t interval:",
        *(f"#   {comparison.sentence()}" for comparison in final.comparisons),
        f"# The values of trial {final.best}: {', '.join(bindings_for(final.params))}",
        "#",
        f"#   matx run {opened.folder.best.name}",
        "#",
    ]
    text = load_experiment([opened.folder.recipe], bindings).text
    write_text(opened.folder.best, "\n".join(head) + "\n" + text)


def _write_front(opened: OpenStudy, trials: Sequence[FrozenTrial]) -> None:
    """A gin file for each point of the Pareto front, where there are two objectives."""
    if len(opened.tune.objectives) < 2:
        return
    folder = opened.folder.path / "front"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("trial-*.gin"):
        old.unlink(missing_ok=True)  # another process may end the study, too
    front = {trial.number for trial in opened.study.best_trials}
    for trial in finished_trials(trials):
        if trial.number in front:
            values = zip(opened.tune.objectives, trial.values, strict=True)
            head = f"# Trial {trial.number}: " + ", ".join(f"{name} {value:.4f}" for name, value in values) + "\n"
            text = load_experiment([opened.folder.recipe], bindings_for(trial.params)).text
            write_text(folder / f"trial-{trial.number:04d}.gin", head + text)
