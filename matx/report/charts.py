"""Charts as inline SVG: a frame with round values at its sides, and lines in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = [
    "BOTTOM",
    "HEIGHT",
    "INKS",
    "LEFT",
    "RIGHT",
    "TOP",
    "WIDTH",
    "Curve",
    "Scale",
    "chart",
    "frame",
    "line_chart",
    "scale_of",
    "side_values",
    "svg",
]

Curve = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 56, WIDTH - 14, 28, HEIGHT - 30
"""The sides of the frame, in pixels."""
INKS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8d5a97", "#b08900", "#4f6d7a", "#d1495b", "#2e4057")


@dataclass(frozen=True)
class Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def pixel(self, value: float) -> float:
        """Where a value is drawn."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def round_values(self) -> list[float]:
        """Three to seven multiples of 1, 2 or 5 times a power of ten."""
        power = 10.0 ** math.floor(math.log10((self.high - self.low) / 3))
        # A range of 3 times a power of ten may come out a rounding below it.
        step = max(factor * power for factor in (1, 2, 5) if (self.high - self.low) / (factor * power) >= 3 - 1e-9)
        first = math.ceil(self.low / step - 1e-9)
        return [round(number * step, 12) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale_of(values: Sequence[float], start: float, end: float) -> Scale:
    """The scale of these values; around a single one, of 1 in all."""
    low, high = min(values), max(values)
    return Scale(low, high, start, end) if low < high else Scale(low - 0.5, high + 0.5, start, end)


def line_chart(title: str, lines: Mapping[str, Curve], below: str) -> str:
    """Lines by label in a frame, with a legend; `below` says what is on the horizontal axis."""
    points = [point for line in lines.values() for point in line]
    across, down = scale_of([x for x, _ in points], LEFT, RIGHT), scale_of([y for _, y in points], BOTTOM, TOP)
    marks = []
    for position, (label, line) in enumerate(lines.items()):
        ink = INKS[position % len(INKS)]
        path = " ".join(f"{across.pixel(x):.1f},{down.pixel(y):.1f}" for x, y in line)
        marks.append(f'<polyline points="{path}" fill="none" stroke="{ink}" stroke-width="1.5"/>')
        if label:
            y = TOP + 13 * (position + 1)
            marks.append(f'<text x="{RIGHT + 8}" y="{y}" style="fill:{ink}">{escape(label)}</text>')
    whole = all(x == int(x) for x, _ in points)
    return chart(title, marks, across, down, below, whole=whole, width=WIDTH + 7 * max(map(len, lines)))


def chart(
    title: str, marks: Sequence[str], across: Scale, down: Scale, below: str, *, whole: bool, width: int = WIDTH
) -> str:
    """Marks in a frame, with round values at its left side and below, there only whole ones where asked."""
    values = [
        f'<text x="{across.pixel(value):.1f}" y="{BOTTOM + 14}" text-anchor="middle">{value:.4g}</text>'
        for value in across.round_values()
        if value == int(value) or not whole
    ]
    name = f'<text x="{RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(below)}</text>'
    return frame(title, [*side_values(down), *marks, *values, name], width=width)


def side_values(down: Scale) -> list[str]:
    """Round values at the left side, each with a faint line across."""
    parts = []
    for value in down.round_values():
        y = down.pixel(value)
        parts.append(f'<path d="M{LEFT},{y:.1f} H{RIGHT}" stroke="#000" stroke-opacity="0.08"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    return parts


def frame(title: str, parts: Sequence[str], *, width: int = WIDTH) -> str:
    """A picture with a title and a frame."""
    box = f'<path d="M{LEFT},{TOP} V{BOTTOM} H{RIGHT}" fill="none" stroke="#999"/>'
    head = f'<text x="{LEFT}" y="16" style="font-weight:600">{escape(title)}</text>'
    return svg(width, HEIGHT, [head, box, *parts])


def svg(width: int, height: int, parts: Sequence[str]) -> str:
    """A picture of these parts."""
    inner = "\n".join(parts)
    return f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">\n{inner}\n</svg>'
