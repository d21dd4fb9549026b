"""report.html: one self-contained page with the tables and the training curves as inline SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from matx.report.results import Results
from matx.report.sheets import Seconds, Sheet, blocks, sheets, summary
from matx.report.verdicts import NOT_CHECKED, reasons
from matx.threat import ThreatModel

__all__ = ["curves", "html"]

Curve = list[tuple[float, float]]
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 380, 230, 48, 26, 10, 28
_INKS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8d5a97", "#b08900", "#4f6d7a", "#d1495b", "#2e4057")
_INTERVAL = re.compile(r"(\[[\d.]+, [\d.]+\])")
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
            label = path[at] if at < len(path) else owner
            chart = "/".join((*path[:at], *path[at + 1 :]))
            found.setdefault(chart, {}).setdefault(label, {})[epoch] = value
    return {chart: {label: sorted(points.items()) for label, points in lines.items()} for chart, lines in found.items()}


def _leaves(value: Any, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield path, float(value)


def html(found: Results, metrics: Iterable[Mapping[str, Any]] = (), seconds: Seconds | None = None) -> str:
    """The page: the tables of each checkpoint and what does not pass, then a chart for each metric of the epochs."""
    title = escape(str(found["experiment"]))
    parts = [f"<h1>{title}</h1>", *(f"<p>{escape(line)}</p>" for line in summary(found))]
    for (heading, body), (_, block) in zip(sheets(found, seconds), blocks(found), strict=True):
        parts += [f"<h2>{escape(heading)}</h2>", *(_table(sheet) for sheet in body)]
        parts += [_chart(name, lines, "radius") for name, lines in _by_radius(block).items()]
    doubts = reasons(found)
    if doubts:
        parts += ["<h2>What does not pass</h2>", "<ul>", *(f"<li>{escape(line)}</li>" for line in doubts), "</ul>"]
    charts = [
        _chart(name, lines, "epoch")
        for name, lines in curves(metrics, found["peers"]).items()
        if any(len({value for _, value in points}) > 1 for points in lines.values())
    ]
    if charts:
        parts += ["<h2>Training</h2>", *charts]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    text = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{text}\n</body></html>\n'


def _by_radius(block: Mapping[str, Any]) -> dict[str, dict[str, Curve]]:
    """{chart: {peer: [(eps, accuracy in per cent), ...]}}, from the clean image at radius 0 on."""
    found: dict[str, dict[str, Curve]] = {}
    for one, label in ((block, ""), (block.get("ema", {}), " (EMA)")):
        for name, norms in one.get("grid", {}).items():
            row = one["peers"].get(name) or one[name]
            for norm, points in norms.items():
                curve = [(ThreatModel(norm=norm, eps=at["eps"]).radius, 100.0 * at["accuracy"]) for at in points]
                if len(curve) > 1:
                    lines = found.setdefault(f"accuracy by radius in {norm}, %", {})
                    lines[f"{name}{label}"] = [(0.0, 100.0 * row["clean"]["accuracy"]), *curve]
    return found


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
