"""The charts of a study as inline SVG: history, importance, slices, parallel coordinates, Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from matx.experiment.tune import Axis
from matx.report.charts import (
    BOTTOM,
    HEIGHT,
    INKS,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    chart,
    frame,
    scale_of,
    side_values,
    svg,
)

__all__ = ["Point", "front", "history", "importance", "parallel", "slices"]

_INK, _BEST, _FAINT = INKS[0], INKS[1], "#9aa5ad"


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

    @property
    def complete(self) -> bool:
        """Whether it, or a trial of equal values, was trained to its end."""
        return self.state == "complete"


def history(points: Sequence[Point], objective: int, name: str, *, maximize: bool) -> str:
    """Every trial's value by its number, and the best so far."""
    drawn = [point for point in points if len(point.values) > objective]
    if not drawn:
        return ""
    across = scale_of([float(point.number) for point in drawn], LEFT, RIGHT)
    down = scale_of([point.values[objective] for point in drawn], BOTTOM, TOP)
    marks: list[str] = []
    line: list[str] = []
    best: float | None = None
    for point in sorted(drawn, key=lambda point: point.number):
        value = point.values[objective]
        title = f"trial {point.number}: {value:.4f} {point.state}"
        marks.append(_dot(across.pixel(point.number), down.pixel(value), point, title))
        if point.complete and (best is None or (value > best) == maximize):
            best = value
        if best is not None:
            line += [f"{across.pixel(point.number):.1f},{line[-1].partition(',')[2]}"] if line else []
            line.append(f"{across.pixel(point.number):.1f},{down.pixel(best):.1f}")
    path = f'<polyline points="{" ".join(line)}" fill="none" stroke="{_BEST}" stroke-width="1.5"/>'
    return chart(f"History of {name}", [path, *marks], across, down, "trial", whole=True)


def slices(points: Sequence[Point], axis: Axis, objective: int, name: str) -> str:
    """The value of each trial against one searched setting."""
    drawn = [point for point in points if len(point.values) > objective and axis.name in point.params]
    if not drawn:
        return ""
    place, labels = _along(axis, LEFT + 8, RIGHT - 8)
    down = scale_of([point.values[objective] for point in drawn], BOTTOM, TOP)
    marks = [
        _dot(
            place(point.params[axis.name]),
            down.pixel(point.values[objective]),
            point,
            f"trial {point.number}: {axis.name} = {_short(point.params[axis.name])}, {point.values[objective]:.4f}",
        )
        for point in drawn
    ]
    ticks = [f'<text x="{x:.0f}" y="{BOTTOM + 14}" text-anchor="middle">{escape(label)}</text>' for x, label in labels]
    return frame(f"{name} by {axis.name}", [*side_values(down), *marks, *ticks])


def importance(shares: Mapping[str, float], name: str) -> str:
    """A bar for each setting."""
    if not shares:
        return ""
    height = TOP + 26 * len(shares) + 10
    parts = [f'<text x="8" y="16" style="font-weight:600">Importance for {escape(name)}</text>']
    for row, (setting, share) in enumerate(sorted(shares.items(), key=lambda item: -item[1])):
        y = TOP + 26 * row
        parts.append(
            f'<rect x="{WIDTH // 2}" y="{y}" width="{share * (WIDTH / 2 - 50):.1f}" height="18" fill="{_INK}"/>'
        )
        parts.append(f'<text x="{WIDTH // 2 - 6}" y="{y + 13}" text-anchor="end">{escape(setting)}</text>')
        parts.append(f'<text x="{WIDTH // 2 + share * (WIDTH / 2 - 50) + 5:.1f}" y="{y + 13}">{share:.0%}</text>')
    return svg(WIDTH, height, parts)


def parallel(points: Sequence[Point], axes: Sequence[Axis], objective: int, name: str) -> str:
    """Every trial as a line across all settings to its value; the better, the stronger."""
    drawn = [point for point in points if point.complete and len(point.values) > objective]
    drawn = [point for point in drawn if all(axis.name in point.params for axis in axes)]
    if not drawn:
        return ""
    width, gap = max(WIDTH, 170 * (len(axes) + 1)), (max(WIDTH, 170 * (len(axes) + 1)) - 140) / len(axes)
    columns = [60 + gap * position for position in range(len(axes) + 1)]
    places = [_along(axis, BOTTOM, TOP + 16) for axis in axes]
    down = scale_of([point.values[objective] for point in drawn], BOTTOM, TOP + 16)
    strength = scale_of([point.mean_objective for point in drawn], 0.08, 1.0)
    parts = []
    for point in sorted(drawn, key=lambda point: point.mean_objective):
        heights = [place(point.params[axis.name]) for axis, (place, _) in zip(axes, places, strict=True)]
        corners = zip(columns, [*heights, down.pixel(point.values[objective])], strict=True)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{_INK}" '
            f'stroke-opacity="{strength.pixel(point.mean_objective):.2f}">'
            f"<title>trial {point.number}: {point.values[objective]:.4f}</title></polyline>"
        )
    ends = [labels for _, labels in places] + [[(down.pixel(v), f"{v:.3g}") for v in (down.low, down.high)]]
    for x, title, labels in zip(columns, [*(axis.name for axis in axes), name], ends, strict=True):
        parts.append(f'<path d="M{x:.1f},{TOP + 16} V{BOTTOM}" stroke="#555"/>')
        parts.append(f'<text x="{x:.1f}" y="{TOP}" text-anchor="middle">{escape(title.rpartition(".")[2])}</text>')
        parts += [f'<text x="{x + 4:.1f}" y="{y:.1f}">{escape(label)}</text>' for y, label in labels]
    parts.append('<text x="8" y="14" style="font-weight:600">Parallel coordinates: stronger lines are better</text>')
    return svg(int(width), HEIGHT, parts)


def front(points: Sequence[Point], names: Sequence[str], members: Sequence[int]) -> str:
    """Two objectives against each other, the Pareto front marked."""
    drawn = [point for point in points if point.complete and len(point.values) == 2]
    if not drawn:
        return ""
    across = scale_of([point.values[0] for point in drawn], LEFT, RIGHT)
    down = scale_of([point.values[1] for point in drawn], BOTTOM, TOP)
    chosen = sorted((point for point in drawn if point.number in set(members)), key=lambda point: point.values)
    line = " ".join(f"{across.pixel(p.values[0]):.1f},{down.pixel(p.values[1]):.1f}" for p in chosen)
    marks = [f'<polyline points="{line}" fill="none" stroke="{_BEST}"/>']
    for point in drawn:
        first, second = point.values
        title = f"trial {point.number}: {first:.4f}, {second:.4f}"
        marks.append(_dot(across.pixel(first), down.pixel(second), point, title))
    return chart(f"Pareto front: {names[1]} by {names[0]}", marks, across, down, names[0], whole=False)


def _along(axis: Axis, start: float, end: float) -> tuple[Callable[[Any], float], list[tuple[float, str]]]:
    """(value -> pixel, [(pixel, label)]) of a setting's range."""
    if axis.kind == "categorical":
        count = len(axis.choices)
        spots = {repr(c): start + (end - start) * (i + 0.5) / count for i, c in enumerate(axis.choices)}
        return lambda value: spots[repr(value)], [(spots[repr(c)], _short(c)) for c in axis.choices]
    scale = Scale(axis.low, axis.high, start, end, axis.kind == "log")
    return scale.pixel, [(start, f"{axis.low:g}"), (end, f"{axis.high:g}")]


def _dot(x: float, y: float, point: Point, title: str) -> str:
    ink = _BEST if point.start else _INK if point.complete else _FAINT
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{ink}" fill-opacity="0.75">'
    return f"{circle}<title>{escape(title)}</title></circle>"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
