"""The report of a study: trials.csv, study.html, and what was found in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from matx.experiment.tune import Tune
from matx.pages import Page, Part, Sheet, render
from matx.runtime.files import write_text
from matx.text import in_table
from matx.tune.charts import Point, drawn_front, drawn_objective
from matx.tune.final import FinalComparison, mean_objective
from matx.tune.importance import importance_in_words, importances
from matx.tune.study_folder import StudyFolder
from matx.tune.trial_queue import finished_trials

__all__ = ["Ranking", "lines", "ranking", "write_reports"]

_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def write_reports(folder: StudyFolder, study: optuna.Study, tune: Tune, final: FinalComparison | None = None) -> None:
    """Write trials.csv and study.html from the record."""
    over = finished_trials(study.get_trials(deepcopy=False))
    write_text(folder.table, _csv(over, tune))
    write_text(folder.page, _page(folder.path.resolve().name, study, over, tune, final))


def lines(study: optuna.Study, tune: Tune, final: FinalComparison | None) -> list[str]:
    """The study in words: what was tried, what matters, what the final comparison says."""
    over = finished_trials(study.get_trials(deepcopy=False))
    count = {state: sum(trial.state == state for trial in over) for state in _STATES}
    copied = sum("duplicate_of" in trial.user_attrs["outcome"] for trial in over)
    found = [
        f"{len(over)} trials: {count[TrialState.COMPLETE]} complete, {count[TrialState.PRUNED]} pruned, "
        f"{count[TrialState.FAIL]} failed"
        + (f"; {copied} of them have the result of a trial of equal values" if copied else "")
    ]
    if len(tune.objectives) > 1:
        found.append("Two objectives: the Pareto front is what counts, and no trial was pruned.")
    for objective in range(len(tune.objectives)):
        found += importance_in_words(over, tune, objective)
    if final is not None and final.comparisons:
        found += ["On fresh seeds, higher is better, 95 % t interval of the paired differences on validation:"]
        found += [f"  {comparison.sentence()}" for comparison in final.comparisons]
    if final is not None:
        found.append(f"So {final.why}.")
    return found


@dataclass(frozen=True)
class Ranking:
    """A table of the trials that have a result, the best first."""

    head: list[str]
    rows: list[list[str]]


def ranking(study: optuna.Study, tune: Tune) -> Ranking:
    """The trials that have a result, the best first."""
    points = _points(finished_trials(study.get_trials(deepcopy=False)), tune)
    ordered = sorted(points, key=lambda p: (not p.complete, -p.mean_objective if p.complete else 0.0))
    head = ["trial", "state", *tune.objectives, *tune.space, "start"]
    rows = [
        [
            str(point.number),
            point.state,
            *[f"{value:.4f}" for value in point.values],
            *["-"] * (len(tune.objectives) - len(point.values)),
            *[_shown(point.params.get(name)) for name in tune.space],
            point.start or "",
        ]
        for point in ordered
    ]
    return Ranking(head, rows)


def _points(over: Sequence[FrozenTrial], tune: Tune) -> list[Point]:
    points = []
    for trial in over:
        values = tuple(trial.values) if trial.values and trial.state != TrialState.FAIL else ()
        whole = trial.state == TrialState.COMPLETE
        points.append(
            Point(
                number=trial.number,
                state=_STATES[trial.state],
                params=trial.params,
                values=values,
                mean_objective=mean_objective(values, tune) if whole else float("nan"),
                start=trial.user_attrs.get("start"),
                curve=trial.intermediate_values,
            )
        )
    return points


def _csv(over: Sequence[FrozenTrial], tune: Tune) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    extra = ["epochs", "seconds", "start", "retry_of", "duplicate_of", "reason"]
    table.writerow(map(in_table, ["trial", "state", *tune.objectives, *tune.space, *extra]))
    for trial, point in zip(over, _points(over, tune), strict=True):
        known: dict[str, Any] = {**trial.user_attrs, **trial.user_attrs.get("outcome", {})}
        values = [*point.values, *[""] * (len(tune.objectives) - len(point.values))]
        params = [trial.params.get(name, "") for name in tune.space]
        row = [trial.number, point.state, *values, *params, *(known.get(name, "") for name in extra)]
        table.writerow(map(in_table, row))
    return text.getvalue()


def _page(
    name: str, study: optuna.Study, over: Sequence[FrozenTrial], tune: Tune, final: FinalComparison | None
) -> str:
    found, axes = _points(over, tune), tune.axes
    said = lines(study, tune, final)
    parts = []
    if final is not None and any(final.scores.values()):
        parts.append(Part(heading="Fresh seeds", sheets=[_final_sheet(final)]))
    if len(tune.objectives) == 2:
        members = [trial.number for trial in study.best_trials]
        parts.append(Part(heading="Pareto front", figures=list(drawn_front(found, tune.objectives, members))))
    for objective, metric in enumerate(tune.objectives):
        maximize = tune.headings[objective] == "maximize"
        shares = importances(over, tune, objective)
        figures = drawn_objective(found, axes, objective, metric, maximize=maximize, shares=shares)
        parts.append(Part(heading=metric, says=["Pruned trials are at their last score."], figures=list(figures)))
    ranked = ranking(study, tune)
    why = {str(trial.number): _why(trial) for trial in over}
    rows = [[*row, why[row[0]]] for row in ranked.rows]
    parts.append(
        Part(heading="Trials", sheets=[Sheet(caption="The best first", head=[*ranked.head, "reason"], rows=rows)])
    )
    return render(Page(title=name, says=[line.strip() for line in said], parts=parts))


def _why(trial: FrozenTrial) -> str:
    """Why a trial ended as it did, where there is something to say."""
    outcome = trial.user_attrs["outcome"]
    copied = f"as trial {outcome['duplicate_of']}, which has equal values" if "duplicate_of" in outcome else ""
    return str(outcome.get("reason", copied))


def _final_sheet(final: FinalComparison) -> Sheet:
    seeds = list(dict.fromkeys(seed for found in final.scores.values() for seed in found))
    rows = [
        [name, *(f"{found[seed]:.4f}" if seed in found else "failed" for seed in seeds)]
        for name, found in final.scores.items()
    ]
    return Sheet(caption="Validation score", head=["configuration", *(f"seed {seed}" for seed in seeds)], rows=rows)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
