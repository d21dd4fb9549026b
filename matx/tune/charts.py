"""The charts of a study as inline SVG: history, importance, slices, parallel coordinates, Pareto front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from matx.experiment.tune import Axis

__all__ = ["Point", "front", "history", "importance", "parallel", "slices"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 420, 250, 56, 14, 28, 30
_INK, _BEST, _FAINT = "#1b6ca8", "#c8553d", "#9aa5ad"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One trial as the charts see it."""

    number: int
    state: str
    params: Mapping[str, Any]
    values: tuple[float, ...] = ()
    """Empty: no score; of a pruned trial the last one."""
    score: float = math.nan
    """Higher is better."""
    start: str | None = None

    @property
    def complete(self) -> bool:
        """Whether it was trained to its end (or answered from such a trial)."""
        return self.state == "complete"


@dataclass(frozen=True)
class _Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def _scale(values: Sequence[float], start: float, end: float, *, log: bool = False) -> _Scale:
    low, high = min(values), max(values)
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    return _Scale(low, high, start, end, log)


def history(points: Sequence[Point], objective: int, name: str, *, maximize: bool) -> str:
    """Every trial's value by its number, and the best so far."""
    drawn = [point for point in points if len(point.values) > objective]
    if not drawn:
        return ""
    across = _scale([float(point.number) for point in drawn], _LEFT, _WIDTH - _RIGHT)
    down = _scale([point.values[objective] for point in drawn], _HEIGHT - _BOTTOM, _TOP)
    marks: list[str] = []
    line: list[str] = []
    best: float | None = None
    for point in sorted(drawn, key=lambda point: point.number):
        value = point.values[objective]
        marks.append(_dot(across(point.number), down(value), point, f"trial {point.number}: {value:.4f} {point.state}"))
        if point.complete and (best is None or (value > best) == maximize):
            best = value
        if best is not None:
            line += [f"{across(point.number):.1f},{line[-1].partition(',')[2]}"] if line else []
            line.append(f"{across(point.number):.1f},{down(best):.1f}")
    path = f'<polyline points="{" ".join(line)}" fill="none" stroke="{_BEST}" stroke-width="1.5"/>'
    numbers = [number for number in _round_values(across.low, across.high) if number == int(number)]
    return _chart(f"History of {name}", [path, *marks], across, down, "trial", numbers)


def slices(points: Sequence[Point], axis: Axis, objective: int, name: str) -> str:
    """The value of each trial against one searched setting."""
    drawn = [point for point in points if len(point.values) > objective and axis.name in point.params]
    if not drawn:
        return ""
    place, labels = _along(axis, _LEFT + 8, _WIDTH - _RIGHT - 8)
    down = _scale([point.values[objective] for point in drawn], _HEIGHT - _BOTTOM, _TOP)
    marks = [
        _dot(
            place(point.params[axis.name]),
            down(point.values[objective]),
            point,
            f"trial {point.number}: {axis.name} = {_short(point.params[axis.name])}, {point.values[objective]:.4f}",
        )
        for point in drawn
    ]
    ticks = [
        f'<text x="{x:.0f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{escape(label)}</text>'
        for x, label in labels
    ]
    return _frame(f"{name} by {axis.name}", [*_heights(down), *marks, *ticks])


def importance(shares: Mapping[str, float], name: str) -> str:
    """A bar for each setting."""
    if not shares:
        return ""
    height = _TOP + 26 * len(shares) + 10
    parts = [f'<text x="8" y="16" style="font-weight:600">Importance for {escape(name)}</text>']
    for row, (setting, share) in enumerate(sorted(shares.items(), key=lambda item: -item[1])):
        y = _TOP + 26 * row
        parts.append(
            f'<rect x="{_WIDTH // 2}" y="{y}" width="{share * (_WIDTH / 2 - 50):.1f}" height="18" fill="{_INK}"/>'
        )
        parts.append(f'<text x="{_WIDTH // 2 - 6}" y="{y + 13}" text-anchor="end">{escape(setting)}</text>')
        parts.append(f'<text x="{_WIDTH // 2 + share * (_WIDTH / 2 - 50) + 5:.1f}" y="{y + 13}">{share:.0%}</text>')
    return _svg(_WIDTH, height, parts)


def parallel(points: Sequence[Point], axes: Sequence[Axis], objective: int, name: str) -> str:
    """Every trial as a line across all settings to its value; the better, the stronger."""
    drawn = [point for point in points if point.complete and len(point.values) > objective]
    drawn = [point for point in drawn if all(axis.name in point.params for axis in axes)]
    if not drawn:
        return ""
    width, gap = max(_WIDTH, 170 * (len(axes) + 1)), (max(_WIDTH, 170 * (len(axes) + 1)) - 140) / len(axes)
    columns = [60 + gap * position for position in range(len(axes) + 1)]
    places = [_along(axis, _HEIGHT - _BOTTOM, _TOP + 16) for axis in axes]
    down = _scale([point.values[objective] for point in drawn], _HEIGHT - _BOTTOM, _TOP + 16)
    strength = _scale([point.score for point in drawn], 0.08, 1.0)
    parts = []
    for point in sorted(drawn, key=lambda point: point.score):
        heights = [place(point.params[axis.name]) for axis, (place, _) in zip(axes, places, strict=True)]
        corners = zip(columns, [*heights, down(point.values[objective])], strict=True)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{_INK}" stroke-opacity="{strength(point.score):.2f}">'
            f"<title>trial {point.number}: {point.values[objective]:.4f}</title></polyline>"
        )
    ends = [labels for _, labels in places] + [[(down(v), f"{v:.3g}") for v in (down.low, down.high)]]
    for x, title, labels in zip(columns, [*(axis.name for axis in axes), name], ends, strict=True):
        parts.append(f'<path d="M{x:.1f},{_TOP + 16} V{_HEIGHT - _BOTTOM}" stroke="#555"/>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP}" text-anchor="middle">{escape(title.rpartition(".")[2])}</text>')
        parts += [f'<text x="{x + 4:.1f}" y="{y:.1f}">{escape(label)}</text>' for y, label in labels]
    parts.append('<text x="8" y="14" style="font-weight:600">Parallel coordinates: stronger lines are better</text>')
    return _svg(int(width), _HEIGHT, parts)


def front(points: Sequence[Point], names: Sequence[str], members: Sequence[int]) -> str:
    """Two objectives against each other, the Pareto front marked."""
    drawn = [point for point in points if point.complete and len(point.values) == 2]
    if not drawn:
        return ""
    across = _scale([point.values[0] for point in drawn], _LEFT, _WIDTH - _RIGHT)
    down = _scale([point.values[1] for point in drawn], _HEIGHT - _BOTTOM, _TOP)
    chosen = sorted((point for point in drawn if point.number in set(members)), key=lambda point: point.values)
    line = " ".join(f"{across(p.values[0]):.1f},{down(p.values[1]):.1f}" for p in chosen)
    marks = [f'<polyline points="{line}" fill="none" stroke="{_BEST}"/>']
    marks += [
        _dot(across(p.values[0]), down(p.values[1]), p, f"trial {p.number}: {p.values[0]:.4f}, {p.values[1]:.4f}")
        for p in drawn
    ]
    rounds = _round_values(across.low, across.high)
    return _chart(f"Pareto front: {names[1]} by {names[0]}", marks, across, down, names[0], rounds)


def _along(axis: Axis, start: float, end: float) -> tuple[Any, list[tuple[float, str]]]:
    """(value -> pixel, [(pixel, label)]) of a setting's range."""
    if axis.kind == "categorical":
        count = len(axis.choices)
        spots = {repr(c): start + (end - start) * (i + 0.5) / count for i, c in enumerate(axis.choices)}
        return lambda value: spots[repr(value)], [(spots[repr(c)], _short(c)) for c in axis.choices]
    scale = _Scale(axis.low, axis.high, start, end, axis.kind == "log")
    return scale, [(start, f"{axis.low:g}"), (end, f"{axis.high:g}")]


def _dot(x: float, y: float, point: Point, title: str) -> str:
    ink = _BEST if point.start else _INK if point.complete else _FAINT
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{ink}" fill-opacity="0.75">'
    return f"{circle}<title>{escape(title)}</title></circle>"


def _chart(title: str, marks: Sequence[str], across: _Scale, down: _Scale, below: str, values: Sequence[float]) -> str:
    bottom = _HEIGHT - _BOTTOM + 14
    ticks = [f'<text x="{across(value):.1f}" y="{bottom}" text-anchor="middle">{value:.4g}</text>' for value in values]
    name = f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" text-anchor="end">{escape(below)}</text>'
    return _frame(title, [*_heights(down), *marks, *ticks, name])


def _heights(down: _Scale) -> list[str]:
    """Round values up the side, each with a faint line across."""
    parts = []
    for value in _round_values(down.low, down.high):
        y = down(value)
        parts.append(f'<path d="M{_LEFT},{y:.1f} H{_WIDTH - _RIGHT}" stroke="#000" stroke-opacity="0.08"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    return parts


def _round_values(low: float, high: float) -> list[float]:
    """Three to seven multiples of 1, 2 or 5 times a power of ten between two values."""
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = max(factor * power for factor in (1, 2, 5) if (high - low) / (factor * power) >= 3)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _frame(title: str, parts: Sequence[str]) -> str:
    box = f'<path d="M{_LEFT},{_TOP} V{_HEIGHT - _BOTTOM} H{_WIDTH - _RIGHT}" fill="none" stroke="#999"/>'
    head = f'<text x="{_LEFT}" y="16" style="font-weight:600">{escape(title)}</text>'
    return _svg(_WIDTH, _HEIGHT, [head, box, *parts])


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    inner = "\n".join(parts)
    return f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">\n{inner}\n</svg>'


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
