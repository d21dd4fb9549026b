"""The curves of a report as points: what training recorded by epoch, and scores by radius."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from matx.report.sheets import by_table, label
from matx.results import CLEAN, Results, scores_at, threat_of

__all__ = ["Curve", "curves", "radius_curves"]

Curve = Sequence[tuple[float, float]]
"""(x, y) from left to right."""


def curves(metrics: Iterable[Mapping[str, Any]], peers: Iterable[str]) -> dict[str, dict[str, Curve]]:
    """{chart: {peer: [(epoch, value), ...]}} of the records of metrics.jsonl that carry an epoch but no step.

    Nested values become paths (`validation/linf:0.1`); a peer's name below the first key is taken out of the path and
    labels the line; values without a peer have the line ''. Several records of an epoch: the last counts. Not finite:
    left out.
    """
    names = set(peers)
    found: dict[str, dict[str, dict[float, float]]] = {}
    for record in metrics:
        if "epoch" not in record or "step" in record:
            continue
        epoch = float(record["epoch"])
        owner = record["peer"] if record.get("peer") in names else ""
        for path, value in _leaves(record, ()):
            if path in (("epoch",), ("steps",)):
                continue
            at = next((place for place, part in enumerate(path) if place and part in names), len(path))
            line = path[at] if at < len(path) else owner
            chart = "/".join((*path[:at], *path[at + 1 :]))
            found.setdefault(chart, {}).setdefault(line, {})[epoch] = value
    return {chart: {line: sorted(points.items()) for line, points in lines.items()} for chart, lines in found.items()}


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield path, float(value)


def radius_curves(found: Results, checkpoint: str) -> dict[str, dict[str, Curve]]:
    """{chart: {model: [(eps, per cent), ...]}} of the counts in further tables whose column ends in a threat model.

    A chart for each table, norm and what the column says before; those that say nothing count robust samples, and lead
    from the clean accuracy at radius 0 on. Charts of a single radius are left out.
    """
    scores = [s for s in scores_at(found.scores, checkpoint=checkpoint) if s.source is None]
    tables = by_table(found, scores)
    clean = {(s.model, s.weights): s.value for s in tables.pop("") if s.column == CLEAN}
    charts: dict[str, dict[str, dict[float, float]]] = {}
    for caption, own in tables.items():
        for score in own:
            said, _, key = score.column.rpartition(" ")
            threat = threat_of(key)
            if threat is None or score.correct is None:
                continue
            name = f"{caption}, {f'{said} {threat.norm}'.strip()}"
            line = charts.setdefault(name, {}).setdefault(label(score.model, score.weights), {})
            if not said and (score.model, score.weights) in clean:
                line[0.0] = 100.0 * clean[score.model, score.weights]
            line[threat.radius] = 100.0 * score.value
    return {
        name: {model: sorted(points.items()) for model, points in lines.items()}
        for name, lines in charts.items()
        if len({radius for points in lines.values() for radius in points if radius > 0}) > 1
    }
