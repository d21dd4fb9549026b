"""report.html: one self-contained page with the tables and the training curves as inline SVG."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from matx.report.curves import Curve, curves, radius_curves
from matx.report.sheets import Seconds, Sheet, sections
from matx.report.summary import how, reasons, summary
from matx.results import NOT_CHECKED, Results, models_of

__all__ = ["html"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 380, 230, 48, 26, 10, 28
_INKS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8d5a97", "#b08900", "#4f6d7a", "#d1495b", "#2e4057")
_INTERVAL = re.compile(r"(\[[-+.e\d]+, [-+.e\d]+\])")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 100em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .3em .8em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
caption { text-align: left; font-weight: 600; padding: .3em 0; }
.bold td { font-weight: 600; } .wide { overflow-x: auto; }
td small { color: #777; font-weight: 400; }
.pass { color: #2c7a3f; } .warn { color: #9a6b00; font-weight: 600; } .fail { color: #b3261e; font-weight: 600; }
.unchecked { color: #777; }
svg { margin: 0 1em 1em 0; } svg text { font: 11px system-ui, sans-serif; fill: #444; }
"""


def html(found: Results, metrics: Iterable[Mapping[str, Any]] = (), seconds: Seconds | None = None) -> str:
    """The page: tables of each checkpoint, what does not pass, how it was measured, and training charts."""
    title = escape(found.experiment)
    parts = [f"<h1>{title}</h1>", *(f"<p>{escape(line)}</p>" for line in summary(found))]
    for section in sections(found, seconds):
        parts += [f"<h2>{escape(section.heading)}</h2>", *(_table(sheet) for sheet in section.sheets)]
        parts += [_chart(name, lines, "radius") for name, lines in radius_curves(found, section.checkpoint).items()]
    for heading, said in (("What does not pass", reasons(found)), ("How it was measured", how(found))):
        if said:
            parts += [f"<h2>{heading}</h2>", "<ul>", *(f"<li>{escape(line)}</li>" for line in said), "</ul>"]
    charts = [
        _chart(name, lines, "epoch")
        for name, lines in curves(metrics, models_of(found.scores)).items()
        if any(len({value for _, value in points}) > 1 for points in lines.values())
    ]
    if charts:
        parts += ["<h2>Training</h2>", *charts]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    text = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{text}\n</body></html>\n'


def _table(sheet: Sheet) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in sheet.head)
    lines = []
    for row in sheet.rows:
        kind = ' class="bold"' if row[0] in sheet.bold else ""
        lines.append(f"<tr{kind}>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>")
    body = "\n".join(lines)
    caption = f"<caption>{escape(sheet.caption)}</caption>"
    table = f"<table>{caption}<thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _cell(cell: str) -> str:
    """The interval small, the verdict in its colour."""
    found = escape(cell)
    for word, kind in (("pass", "pass"), ("warn", "warn"), ("fail", "fail"), (NOT_CHECKED, "unchecked")):
        if cell == word or cell.endswith(f" {word}"):
            found = f'{found.removesuffix(word)}<span class="{kind}">{word}</span>'
    return _INTERVAL.sub(r"<small>\1</small>", found)


def _chart(name: str, lines: Mapping[str, Curve], across: str) -> str:
    """One small line chart with its extremes at the axes and a legend; `across` says what runs to the right."""
    points = [point for line in lines.values() for point in line]
    x_low, x_high = _span([x for x, _ in points])
    y_low, y_high = _span([y for _, y in points])
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT

    def place(x: float, y: float) -> str:
        right_of = _LEFT + (x - x_low) / (x_high - x_low) * (right - _LEFT)
        down = bottom - (y - y_low) / (y_high - y_low) * (bottom - _TOP)
        return f"{right_of:.1f},{down:.1f}"

    drawn = [
        f'<text x="{_LEFT}" y="14" style="font-weight:600">{escape(name)}</text>',
        f'<path d="M{_LEFT},{_TOP} V{bottom} H{right}" fill="none" stroke="#999"/>',
        f'<text x="{_LEFT - 4}" y="{_TOP + 4}" text-anchor="end">{y_high:.3g}</text>',
        f'<text x="{_LEFT - 4}" y="{bottom}" text-anchor="end">{y_low:.3g}</text>',
        f'<text x="{_LEFT}" y="{bottom + 14}">{x_low:g}</text>',
        f'<text x="{right}" y="{bottom + 14}" text-anchor="end">{across} {x_high:.4g}</text>',
    ]
    for position, (label, line) in enumerate(lines.items()):
        ink = _INKS[position % len(_INKS)]
        path = " ".join(place(x, y) for x, y in line)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{ink}" stroke-width="1.5"/>')
        if label:
            drawn.append(
                f'<text x="{right + 8}" y="{_TOP + 13 * (position + 1)}" style="fill:{ink}">{escape(label)}</text>'
            )
    inner, width = "\n".join(drawn), _WIDTH + 7 * max(len(label) for label in lines)
    return f'<svg width="{width}" height="{_HEIGHT}" viewBox="0 0 {width} {_HEIGHT}" role="img">\n{inner}\n</svg>'


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
