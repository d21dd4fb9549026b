"""report.html: one self-contained page with the tables and the training curves as inline SVG."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from matx.report.charts import line_chart
from matx.report.curves import curves, radius_curves
from matx.report.sheets import Seconds, Sheet, sections
from matx.report.summary import how, reasons, summary
from matx.results import NOT_CHECKED, Results, models_of

__all__ = ["html"]

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
        parts += [line_chart(name, lines, "radius") for name, lines in radius_curves(found, section.checkpoint).items()]
    for heading, said in (("What does not pass", reasons(found)), ("How it was measured", how(found))):
        if said:
            parts += [f"<h2>{heading}</h2>", "<ul>", *(f"<li>{escape(line)}</li>" for line in said), "</ul>"]
    charts = [
        line_chart(name, lines, "epoch")
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
