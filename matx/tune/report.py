"""What a study leaves for eyes: trials.csv, study.html, and which setting matters, in words."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from matx.experiment.tune import Tune
from matx.runtime.files import write_text
from matx.tune.charts import Point, front, history, importance, parallel, slices
from matx.tune.final import FinalComparison, score
from matx.tune.folder import StudyFolder
from matx.tune.trial_queue import finished_trials

__all__ = ["importances", "lines", "ranking", "write_reports"]

_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
_ENOUGH = 4
"""Complete trials of different values without which importance says nothing."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 84em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: right; }
th:last-child, td:last-child, .trials :nth-last-child(2) { text-align: left; }
p { margin: .6em 0 0; } li { margin-left: 1.5em; } h2 { margin: 1.2em 0 .3em; }
svg { margin: 0 1em 1em 0; vertical-align: top; }
svg text { font: 11px system-ui, sans-serif; fill: #444; paint-order: stroke; stroke: #fff; stroke-width: 3px; }
"""


def write_reports(folder: StudyFolder, study: optuna.Study, tune: Tune, final: FinalComparison | None = None) -> None:
    """Write trials.csv and study.html from the record."""
    over = finished_trials(study.get_trials(deepcopy=False))
    write_text(folder.table, _csv(over, tune))
    write_text(folder.page, _page(folder.path.resolve().name, study, over, tune, final))


def lines(study: optuna.Study, tune: Tune, final: FinalComparison | None) -> list[str]:
    """The study in words: what was tried, what matters, what the final comparison says."""
    over = finished_trials(study.get_trials(deepcopy=False))
    count = {state: sum(trial.state == state for trial in over) for state in _STATES}
    answered = sum("answered_by" in trial.user_attrs["outcome"] for trial in over)
    told = [
        f"{len(over)} trials: {count[TrialState.COMPLETE]} complete, {count[TrialState.PRUNED]} pruned, "
        f"{count[TrialState.FAIL]} failed" + (f"; {answered} of them answered from the record" if answered else "")
    ]
    if len(tune.objectives) > 1:
        told.append("Two objectives: the Pareto front is what counts, and no trial was pruned.")
    for objective, name in enumerate(tune.objectives):
        told += _in_words(importances(study, over, objective), over, tune, objective, name)
    if final is not None:
        told += ["On fresh seeds, higher is better, 95 % t interval of the paired differences on validation:"]
        told += [f"  {comparison.sentence()}" for comparison in final.comparisons]
        told.append(f"So {final.why}.")
    return told


def importances(study: optuna.Study, over: Sequence[FrozenTrial], objective: int) -> dict[str, float]:
    """The share of each setting in the differences between complete trials (fANOVA, Hutter et al. 2014); or none."""
    complete = [trial for trial in over if trial.state == TrialState.COMPLETE]
    if len(complete) < _ENOUGH or len({trial.values[objective] for trial in complete}) < 2:
        return {}
    copied = optuna.create_study(directions=study.directions, sampler=optuna.samplers.RandomSampler(seed=0))
    copied.add_trials(complete)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(
            optuna.importance.get_param_importances(
                copied,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0, n_trees=32),
                target=lambda trial: trial.values[objective],
            )
        )


def ranking(study: optuna.Study, tune: Tune) -> tuple[list[str], list[list[str]]]:
    """(head, rows) of the trials that have a result, the best first."""
    points = _points(finished_trials(study.get_trials(deepcopy=False)), tune)
    ordered = sorted(points, key=lambda p: (not p.complete, -p.score if p.complete else 0.0, p.number))
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
    return head, rows


def _in_words(
    shares: Mapping[str, float], over: Sequence[FrozenTrial], tune: Tune, objective: int, name: str
) -> list[str]:
    if not shares:
        return [f"Importance for {name}: too few complete trials of different values to tell."]
    complete = [trial for trial in over if trial.state == TrialState.COMPLETE]
    maximize = tune.headings[objective] == "maximize"
    top = sorted(complete, key=lambda trial: trial.values[objective], reverse=maximize)[: max(3, len(complete) // 5)]
    told = [f"Importance for {name} (shares of the differences between {len(complete)} complete trials):"]
    for setting, share in sorted(shares.items(), key=lambda item: -item[1]):
        weight = "matters most" if share > 0.5 else "matters" if share > 0.1 else "hardly matters"
        told.append(f"  {setting} {weight} ({share:.0%}); the best {len(top)} trials have {_range(top, setting)}")
    return told


def _range(trials: Sequence[FrozenTrial], setting: str) -> str:
    values = [trial.params[setting] for trial in trials if setting in trial.params]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return f"{min(values):.4g} to {max(values):.4g}"
    return ", ".join(dict.fromkeys(map(repr, values)))


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
                score=score(values, tune) if whole else float("nan"),
                start=trial.user_attrs.get("start"),
            )
        )
    return points


def _csv(over: Sequence[FrozenTrial], tune: Tune) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    extra = ["epochs", "seconds", "start", "retry_of", "answered_by", "reason"]
    table.writerow(["trial", "state", *tune.objectives, *tune.space, *extra])
    for trial, point in zip(over, _points(over, tune), strict=True):
        told: dict[str, Any] = {**trial.user_attrs, **trial.user_attrs.get("outcome", {})}
        values = [*point.values, *[""] * (len(tune.objectives) - len(point.values))]
        params = [trial.params.get(name, "") for name in tune.space]
        table.writerow([trial.number, point.state, *values, *params, *(told.get(name, "") for name in extra)])
    return text.getvalue()


def _page(
    name: str, study: optuna.Study, over: Sequence[FrozenTrial], tune: Tune, final: FinalComparison | None
) -> str:
    points, axes = _points(over, tune), tune.axes
    body = [f"<h1>{escape(name)}</h1>", *_prose(lines(study, tune, final))]
    if final is not None:
        head, rows = _final(final)
        body += ["<h2>Fresh seeds</h2>", _table(head, rows)]
    if len(tune.objectives) == 2:
        members = [trial.number for trial in study.best_trials]
        body += ["<h2>Pareto front</h2>", front(points, tune.objectives, members)]
    for objective, metric in enumerate(tune.objectives):
        body.append(f"<h2>{escape(metric)}</h2>")
        body.append("<p>Red: the best so far and the starting points. Grey: pruned, at its last score.</p>")
        body.append(history(points, objective, metric, maximize=tune.headings[objective] == "maximize"))
        body.append(importance(importances(study, over, objective), metric))
        body += [slices(points, axis, objective, metric) for axis in axes]
        body.append(parallel(points, axes, objective, metric))
    head, rows = ranking(study, tune)
    why = {str(trial.number): _why(trial) for trial in over}
    body += ["<h2>Trials</h2>", _table([*head, "reason"], [[*row, why[row[0]]] for row in rows], "trials")]
    head_html = f'<meta charset="utf-8"><title>{escape(name)}</title><style>{_STYLE}</style>'
    inner = "\n".join(part for part in body if part)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head_html}</head><body>\n{inner}\n</body></html>\n'


def _prose(told: Sequence[str]) -> list[str]:
    """Paragraphs, and lists of the lines that are indented."""
    parts = []
    for line in told:
        item = line.startswith("  ")
        parts.append(f"<li>{escape(line.strip())}</li>" if item else f"<p>{escape(line)}</p>")
    return parts


def _why(trial: FrozenTrial) -> str:
    """Why a trial ended as it did, where there is something to say."""
    outcome = trial.user_attrs["outcome"]
    answered = f"as trial {outcome['answered_by']}, which has equal values" if "answered_by" in outcome else ""
    return str(outcome.get("reason", answered))


def _final(final: FinalComparison) -> tuple[list[str], list[list[str]]]:
    seeds = list(dict.fromkeys(seed for found in final.scores.values() for seed in found))
    rows = [
        [f"{found[seed]:.4f}" if seed in found else "failed" for seed in seeds] + [name]
        for name, found in final.scores.items()
    ]
    return [*(f"seed {seed}" for seed in seeds), "configuration"], rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    inner = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<table class='{kind}'><thead><tr>{top}</tr></thead><tbody>\n{inner}</tbody></table>"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
