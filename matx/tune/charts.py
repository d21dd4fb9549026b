"""The figures of a study: history, trials' curves, importance, slices, parallel coordinates, Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matx.experiment.tune import Axis
from matx.pages import Figure, bars, paths, points

__all__ = ["Point", "drawn_front", "drawn_objective"]

_BEST = "best so far"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One trial as it is drawn."""

    number: int
    state: str
    params: Mapping[str, Any]
    values: tuple[float, ...] = ()
    """Empty: none; of a pruned trial the last one."""
    mean_objective: float = math.nan
    """Higher is better."""
    start: str | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    """{epoch: score} while it was trained."""

    @property
    def complete(self) -> bool:
        """Whether it, or a trial of equal values, was trained to its end."""
        return self.state == "complete"

    @property
    def series(self) -> str:
        """How it is coloured: as a starting point, or by its state."""
        return "starting point" if self.start else self.state


def drawn_objective(
    trials: Sequence[Point],
    axes: Sequence[Axis],
    objective: int,
    name: str,
    *,
    maximize: bool,
    shares: Mapping[str, float],
) -> Iterator[Figure]:
    """Every figure of one objective; `shares` are the settings' importance, empty where nothing can be said of it."""
    known = [trial for trial in trials if len(trial.values) > objective]
    if not known:
        return
    yield _history(known, objective, name, maximize=maximize)
    curves = [
        {"series": trial.series, "line": str(trial.number), "x": epoch, "y": score}
        for trial in known
        for epoch, score in sorted(trial.curve.items())
    ]
    if objective == 0 and curves:
        yield paths(
            "Trials' curves", "A line a trial: its validation score by epoch.", curves, across="epoch", up="score"
        )
    if shares:
        ranked = sorted(shares.items(), key=lambda item: -item[1])
        rows = [{"place": key, "series": "", "value": 100 * v, "low": 100 * v, "high": 100 * v} for key, v in ranked]
        yield bars(f"Importance for {name}", f"The settings' shares: {_listed(ranked)}.", rows, across="", up="%")
    for axis in axes:
        yield from _slice(known, axis, objective, name)
    yield from _parallel([trial for trial in known if trial.complete], axes, objective, name)


def _history(trials: Sequence[Point], objective: int, name: str, *, maximize: bool) -> Figure:
    rows, best = [], -math.inf if maximize else math.inf
    for trial in sorted(trials, key=lambda trial: trial.number):
        value = trial.values[objective]
        rows.append({"series": trial.series, "x": trial.number, "y": value, "what": f"trial {trial.number}"})
        if trial.complete:
            best = max(best, value) if maximize else min(best, value)
        if math.isfinite(best):
            rows.append({"series": _BEST, "x": trial.number, "y": best, "what": f"best at trial {trial.number}"})
    says = f"Every trial's {name} by its number, and the best so far."
    return points(f"History of {name}", says, rows, across="trial", up=name)


def _slice(trials: Sequence[Point], axis: Axis, objective: int, name: str) -> Iterator[Figure]:
    """The value of each trial against one searched setting."""
    named = axis.kind == "categorical"
    rows = [
        {
            "series": trial.series,
            "x": str(trial.params[axis.name]) if named else trial.params[axis.name],
            "y": trial.values[objective],
            "what": f"trial {trial.number}",
        }
        for trial in trials
        if axis.name in trial.params
    ]
    if rows:
        title = f"{name} by {axis.name}"
        yield points(title, f"A dot a trial: {title}.", rows, across=axis.name, up=name, log=axis.kind == "log")


def _parallel(trials: Sequence[Point], axes: Sequence[Axis], objective: int, name: str) -> Iterator[Figure]:
    """Every complete trial as a line across all settings, each on its own scale from 0 to 1, to its value."""
    whole = [trial for trial in trials if all(axis.name in trial.params for axis in axes)]
    if len(whole) < 2 or len(axes) < 2:
        return
    values = [trial.values[objective] for trial in whole]
    low, high = min(values), max(values)
    rows = []
    for trial in whole:
        stops = [(axis.name.rpartition(".")[2], _share(axis, trial.params[axis.name])) for axis in axes]
        stops.append((name, (trial.values[objective] - low) / (high - low) if high > low else 0.5))
        rows += [
            {"series": trial.series, "line": str(trial.number), "x": stop, "y": share, "value": trial.values[objective]}
            for stop, share in stops
        ]
    says = f"A line a trial across {', '.join(axis.name for axis in axes)} to {name}; the better, the darker."
    yield paths("Parallel coordinates", says, rows, across="", up="share of the range", shade=name)


def _share(axis: Axis, value: Any) -> float:
    """Where a value is in its range, from 0 to 1."""
    if axis.kind == "categorical":
        return list(map(repr, axis.choices)).index(repr(value)) / max(1, len(axis.choices) - 1)
    low, high, at = (math.log(v) if axis.kind == "log" else v for v in (axis.low, axis.high, value))
    return (at - low) / (high - low) if high > low else 0.5


def drawn_front(trials: Sequence[Point], names: Sequence[str], members: Sequence[int]) -> Iterator[Figure]:
    """Two objectives against each other, the Pareto front marked."""
    rows = [
        {
            "series": "Pareto front" if trial.number in members else "others",
            "x": trial.values[0],
            "y": trial.values[1],
            "what": f"trial {trial.number}",
        }
        for trial in trials
        if trial.complete and len(trial.values) == 2
    ]
    if rows:
        says = f"A dot a trial: {names[1]} by {names[0]}; the trials that no other beats in both are marked."
        yield points("Pareto front", says, rows, across=names[0], up=names[1])


def _listed(ranked: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{setting} {share:.0%}" for setting, share in ranked)
