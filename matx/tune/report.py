"""The report of a study: trials.csv, study.html, and what was found in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from matx.experiment.tune import Tune
from matx.runtime.files import write_text
from matx.tune.charts import Point, front, history, importance, parallel, slices
from matx.tune.final import FinalComparison, mean_objective
from matx.tune.importance import importance_in_words, importances
from matx.tune.study_folder import StudyFolder
from matx.tune.trial_queue import finished_trials

__all__ = ["Ranking", "lines", "ranking", "write_reports"]

_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
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
    if final is not None:
        found += ["On fresh seeds, higher is better, 95 % t interval of the paired differences on validation:"]
        found += [f"  {comparison.sentence()}" for comparison in final.comparisons]
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
    ordered = sorted(points, key=lambda p: (not p.complete, -p.mean_objective if p.complete else 0.0, p.number))
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
            )
        )
    return points


def _csv(over: Sequence[FrozenTrial], tune: Tune) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    extra = ["epochs", "seconds", "start", "retry_of", "duplicate_of", "reason"]
    table.writerow(["trial", "state", *tune.objectives, *tune.space, *extra])
    for trial, point in zip(over, _points(over, tune), strict=True):
        known: dict[str, Any] = {**trial.user_attrs, **trial.user_attrs.get("outcome", {})}
        values = [*point.values, *[""] * (len(tune.objectives) - len(point.values))]
        params = [trial.params.get(name, "") for name in tune.space]
        table.writerow([trial.number, point.state, *values, *params, *(known.get(name, "") for name in extra)])
    return text.getvalue()


def _page(
    name: str, study: optuna.Study, over: Sequence[FrozenTrial], tune: Tune, final: FinalComparison | None
) -> str:
    points, axes = _points(over, tune), tune.axes
    body = [f"<h1>{escape(name)}</h1>", *_paragraphs(lines(study, tune, final))]
    if final is not None:
        body += ["<h2>Fresh seeds</h2>", _final_table(final)]
    if len(tune.objectives) == 2:
        members = [trial.number for trial in study.best_trials]
        body += ["<h2>Pareto front</h2>", front(points, tune.objectives, members)]
    for objective, metric in enumerate(tune.objectives):
        body.append(f"<h2>{escape(metric)}</h2>")
        body.append("<p>Red: the best so far and the starting points. Grey: pruned, at its last score.</p>")
        body.append(history(points, objective, metric, maximize=tune.headings[objective] == "maximize"))
        body.append(importance(importances(over, tune, objective), metric))
        body += [slices(points, axis, objective, metric) for axis in axes]
        body.append(parallel(points, axes, objective, metric))
    ranked = ranking(study, tune)
    why = {str(trial.number): _why(trial) for trial in over}
    body += [
        "<h2>Trials</h2>",
        _table([*ranked.head, "reason"], [[*row, why[row[0]]] for row in ranked.rows], "trials"),
    ]
    head_html = f'<meta charset="utf-8"><title>{escape(name)}</title><style>{_STYLE}</style>'
    inner = "\n".join(part for part in body if part)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head_html}</head><body>\n{inner}\n</body></html>\n'


def _paragraphs(said: Sequence[str]) -> list[str]:
    """Paragraphs, and lists of the lines that are indented."""
    parts = []
    for line in said:
        item = line.startswith("  ")
        parts.append(f"<li>{escape(line.strip())}</li>" if item else f"<p>{escape(line)}</p>")
    return parts


def _why(trial: FrozenTrial) -> str:
    """Why a trial ended as it did, where there is something to say."""
    outcome = trial.user_attrs["outcome"]
    copied = f"as trial {outcome['duplicate_of']}, which has equal values" if "duplicate_of" in outcome else ""
    return str(outcome.get("reason", copied))


def _final_table(final: FinalComparison) -> str:
    seeds = list(dict.fromkeys(seed for found in final.scores.values() for seed in found))
    rows = [
        [f"{found[seed]:.4f}" if seed in found else "failed" for seed in seeds] + [name]
        for name, found in final.scores.items()
    ]
    return _table([*(f"seed {seed}" for seed in seeds), "configuration"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    inner = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<table class='{kind}'><thead><tr>{top}</tr></thead><tbody>\n{inner}</tbody></table>"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
