"""What the sentinel says of every score, written beside it; a score that nobody doubted says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matx.measure import ENSEMBLE
from matx.measure.sanity import Finding, verdict
from matx.report.results import Results, named

__all__ = ["NOT_CHECKED", "blocks_by_name", "failed", "put_verdicts", "reasons"]

NOT_CHECKED = "not checked"
"""The verdict beside a score that nobody doubted."""


def blocks_by_name(found: Results) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """(names under which its models are kept, the likeliest first; block) of every checkpoint, raw and averaged.

    Where best and last are one epoch, it was evaluated under one of the two names.
    """
    first = str(found["checkpoint"])
    for checkpoint, block in ((first, found), ("last", found.get("last"))):
        if block is None:
            continue
        own = str(found.get("weights", "raw"))
        names = dict.fromkeys((checkpoint, "last"))
        yield tuple(named(name, own) for name in names), block
        if own == "raw" and "ema" in block:
            yield tuple(named(name, "ema") for name in names), block["ema"]


def put_verdicts(
    found: Results, doubts: Mapping[str, Mapping[str, Sequence[Finding]]] | None = None, effort: str = ""
) -> None:
    """Put "sanity" into every peer's row (and the ensemble's): of {checkpoint: {peer: findings}}, or 'not checked'.

    A row is {"verdict"}, and where it was checked "effort", "threats" ({key: verdict of this score}) and "because":
    the sentences of what does not pass.
    """
    for names, block in blocks_by_name(found):
        known: Mapping[str, Sequence[Finding]] = next((doubts[name] for name in names if doubts and name in doubts), {})
        for name, row in rows(block):
            row["sanity"] = _row(known[name], tuple(row["threats"]), effort) if name in known else _unchecked()


def rows(block: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, row) of the peers of a block and of their ensemble."""
    yield from block["peers"].items()
    if ENSEMBLE in block:
        yield ENSEMBLE, block[ENSEMBLE]


def _unchecked() -> dict[str, Any]:
    return {"verdict": NOT_CHECKED}


def _row(findings: Sequence[Finding], keys: Sequence[str], effort: str) -> dict[str, Any]:
    because = [f"{one.status}, {one.check}: {one.sentence}" for one in findings if one.status != "pass"]
    return {
        "effort": effort,
        "verdict": verdict(findings),
        "threats": {key: verdict(findings, key) for key in keys},
        "because": because,
    }


def failed(found: Results) -> bool:
    """Whether a check failed for any score."""
    blocks = (block for _, block in blocks_by_name(found))
    return any(row.get("sanity", {}).get("verdict") == "fail" for block in blocks for _, row in rows(block))


def reasons(found: Results) -> list[str]:
    """A line for each thing that does not pass: 'best generalist: warn, ...'."""
    lines: dict[str, None] = {}
    for names, block in blocks_by_name(found):
        for name, row in rows(block):
            lines.update({f"{names[0]} {name}: {line}": None for line in row.get("sanity", {}).get("because", ())})
    return list(lines)
