"""transfer.json as tables of text, and as Markdown for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["transfer_markdown", "transfer_tables"]

_TITLES = {
    "accuracy": "accuracy of the column on the row's examples, %",
    "fooled": "examples that break the row break the column, too, %",
    "shared": "failures under attack that both share, % of those of either",
    "agreement": "the column answers the row's examples as the row does, %",
}
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""(title, header, rows)."""


def transfer_markdown(found: Mapping[str, Any]) -> str:
    """Markdown tables under one heading."""
    parts = ["# Transfer between peers"]
    for title, header, rows in transfer_tables(found):
        lines = ["| " + " | ".join(line) + " |" for line in (header, ("---",) * len(header), *rows)]
        parts.append(f"## {title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def transfer_tables(found: Mapping[str, Any]) -> list[Table]:
    """The matrices of every run, checkpoint and threat model, then their means side by side."""
    tables: list[Table] = []
    for name, part in found["runs"].items():
        for which, one in part.items():
            tables.append(_matrix(f"{name}, {which}: same answer on clean images, %", one["clean"]["agreement"]))
            for threat, matrices in one["threats"].items():
                for kind, title in _TITLES.items():
                    tables.append(_matrix(f"{name}, {which}, {threat}: {title}", matrices[kind]))
    return [*tables, _means(found)]


def _matrix(title: str, matrix: Mapping[str, Mapping[str, float]]) -> Table:
    columns = tuple(next(iter(matrix.values())))
    rows = [(source, *(f"{100 * matrix[source][target]:.1f}" for target in columns)) for source in matrix]
    return title, ("", *columns), rows


def _means(found: Mapping[str, Any]) -> Table:
    """One row a run, checkpoint and threat model: the means over pairs, side by side."""
    rows = [
        (name, which, threat, *(f"{100 * matrices['mean'][kind]:.1f}" for kind in _TITLES))
        for name, part in found["runs"].items()
        for which, one in part.items()
        for threat, matrices in one["threats"].items()
    ]
    return "means over pairs of different peers, %", ("run", "checkpoint", "threat", *_TITLES), sorted(rows, key=_order)


def _order(row: Sequence[str]) -> tuple[str, str]:
    return row[2], row[1]
