"""A score: one figure of one model, as a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from matx.errors import OptionError
from matx.interfaces import Figure
from matx.threat import ThreatModel

__all__ = [
    "CLEAN",
    "ENSEMBLE",
    "NOT_CHECKED",
    "UNION",
    "Score",
    "headings",
    "mean_of",
    "models_of",
    "scores_at",
    "threat_of",
]

NOT_CHECKED = "not checked"
"""The verdict beside a score that no sanity check concerns."""
ENSEMBLE = "ensemble"
"""The name under which the ensemble of a run's peers is scored."""
CLEAN = "clean"
"""The column of images as they are."""
UNION = "union"
"""The column of all threat models at once."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One row of results.json: a count (`correct` of `n`) or another value, with its 95 % interval where it has one."""

    checkpoint: str
    """`best` or `last` of a run; `weights` of a model that no run made."""
    weights: str
    """`raw`, or `ema`: the averages of the weights."""
    model: str
    """A peer, the ensemble, or somebody's model."""
    source: str | None = None
    """The peer whose adversarial examples the model was asked; None: its own, or none."""
    metric: str
    column: str
    n: int
    value: float
    correct: int | None = None
    low: float | None = None
    high: float | None = None
    sanity: str = NOT_CHECKED
    """`pass`, `warn` or `fail` of the sanity checks that concern it."""

    @classmethod
    def of(cls, figure: Figure, *, checkpoint: str, weights: str, metric: str, sanity: str = NOT_CHECKED) -> Score:
        """A figure of the models of a checkpoint."""
        model, column, source = figure.column
        return cls(
            checkpoint=checkpoint, weights=weights, model=model, source=source, metric=metric, column=column,
            n=figure.n, value=figure.value, correct=figure.correct, low=figure.low, high=figure.high, sanity=sanity,
        )  # fmt: skip

    @property
    def threat(self) -> ThreatModel | None:
        """The threat model that the column is named after, if it is."""
        return threat_of(self.column)

    def row(self) -> dict[str, Any]:
        """As results.json holds it: `correct`, `n` and `accuracy` of a count, else `n` and `value`."""
        found: dict[str, Any] = {
            "checkpoint": self.checkpoint, "weights": self.weights, "model": self.model, "source": self.source,
            "metric": self.metric, "column": self.column,
        }  # fmt: skip
        if self.correct is None:
            found |= {"n": self.n, "value": self.value}
        else:
            found |= {"correct": self.correct, "n": self.n, "accuracy": self.value}
        return {**found, "low": self.low, "high": self.high, "sanity": self.sanity}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Score:
        """The inverse of `row`."""
        known = dict(row)
        value = known.pop("accuracy") if "accuracy" in known else known.pop("value")
        ends = {name: None if known[name] is None else float(known[name]) for name in ("low", "high")}
        return cls(**{**known, **ends, "value": float(value)})


def threat_of(text: str) -> ThreatModel | None:
    """The threat model that a key such as `linf:8/255` names; None for another text."""
    try:
        return ThreatModel.parse(text)
    except OptionError:
        return None


def scores_at(scores: Iterable[Score], *, checkpoint: str, weights: str | None = None) -> list[Score]:
    """The scores of one checkpoint, and of one kind of weights where it is named."""
    return [s for s in scores if s.checkpoint == checkpoint and weights in (None, s.weights)]


def models_of(scores: Iterable[Score]) -> list[str]:
    """The models in order of first appearance."""
    return list(dict.fromkeys(score.model for score in scores))


def mean_of(scores: Iterable[Score], models: Iterable[str], metric: str, column: str) -> float | None:
    """The mean of one column over some models' own examples; None where one of them has no such score."""
    known = {s.model: s.value for s in scores if (s.metric, s.column, s.source) == (metric, column, None)}
    values = [known.get(model) for model in models]
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present and len(present) == len(values) else None


def headings(scores: Iterable[Score]) -> dict[tuple[str, str], str]:
    """{(metric, column): its heading}: the column's name; the metric behind it where several have such a column."""
    places = dict.fromkeys((score.metric, score.column) for score in scores)
    names = [column for _, column in places]
    return {(m, column): column if names.count(column) == 1 else f"{column} ({m})" for m, column in places}
