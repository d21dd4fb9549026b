"""`page`: the tables of docs/performance.md, from the JSON that the other verbs wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from page_tables import placed


def written(page: Path, folder: Path) -> str:
    """The page with every table as the files of the folder have it."""
    text, machines = page.read_text(encoding="utf-8"), []
    for file in sorted(folder.glob("*.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        machines.append(
            {"verb": document["verb"], **document["machine"], "rounds": document["rounds"], "day": document["day"]}
        )
        for name, rows in document["tables"].items():
            text = placed(text, f"bench {name}", table(rows), page)
    return placed(text, "bench machines", table(machines), page)


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown: a column for each key of the first row."""
    head = list(rows[0]) if rows else ["no figures yet"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(shown(row[name]) for name in head)} |" for row in rows]


def shown(value: Any) -> str:
    """Three digits of a number that is no count."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
