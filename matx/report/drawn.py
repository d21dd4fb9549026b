"""The figures of a report: scores as bars and matrices, accuracy by radius and training as lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from matx.pages import Figure, bars, lines, matrix
from matx.report.curves import Curve, curves, radius_curves
from matx.report.sheets import by_table, label
from matx.results import Results, Score, headings, models_of, scores_at

__all__ = ["drawn_scores", "drawn_training"]

_FEW_BARS = 60


def drawn_scores(found: Results, checkpoint: str) -> Iterator[Figure]:
    """Of one checkpoint: bars of the first table, lines by radius, and matrices of who is fooled by whose examples."""
    scores = scores_at(found.scores, checkpoint=checkpoint)
    first = [s for s in by_table(found, scores)[""] if s.source is None and s.correct is not None and s.n]
    if 0 < len(first) <= _FEW_BARS:
        yield bars(
            "Accuracy, with 95 % intervals",
            f"Bars of the accuracy of {', '.join(models_of(first))} for {', '.join(headings(first).values())}.",
            list(_bars(first)),
            across="",
            up="per cent",
        )
    for name, by_model in radius_curves(found, checkpoint).items():
        yield lines(
            name, f"Lines of {name} by radius: {', '.join(by_model)}.", list(_rows(by_model)), across="radius", up="%"
        )
    crossed = [s for s in scores if s.source is not None and s.correct is not None and s.n]
    for (metric, column), heading in headings(crossed).items():
        own = [s for s in crossed if (s.metric, s.column, s.weights) == (metric, column, "raw")]
        if own:
            rows = [{"column": s.model, "row": s.source, "value": 100 * s.value} for s in own]
            says = f"A matrix of {heading}: a row for whose adversarial examples, a column for who is asked."
            yield matrix(f"{heading}, %", says, rows, across="asked", up="examples of")


def _bars(scores: Iterable[Score]) -> Iterator[dict[str, Any]]:
    known = list(scores)
    names = headings(known)
    for score in known:
        ends = [score.value if end is None else end for end in (score.low, score.high)]
        yield {
            "place": names[score.metric, score.column],
            "series": label(score.model, score.weights),
            "value": 100 * score.value,
            "low": 100 * ends[0],
            "high": 100 * ends[1],
        }


def drawn_training(metrics: Iterable[Mapping[str, Any]], peers: Sequence[str], best: int | None) -> Iterator[Figure]:
    """A chart for each value that training recorded by epoch, the best epoch marked; what never changes is left out."""
    marks = {} if best is None else {"best": float(best)}
    for name, by_peer in curves(metrics, peers).items():
        if any(len({value for _, value in points}) > 1 for points in by_peer.values()):
            whose = ", ".join(peer for peer in by_peer if peer)
            says = f"Lines of {name} over epochs{f': {whose}' if whose else ''}."
            yield lines(name, says, list(_rows(by_peer)), across="epoch", up="", marks=marks)


def _rows(by_series: Mapping[str, Curve]) -> Iterator[dict[str, Any]]:
    for series, points in by_series.items():
        for x, y in points:
            yield {"series": series, "x": x, "y": y}
