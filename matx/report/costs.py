"""What a run took by the clock: the seconds of each session, and images a second."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from matx.pages import Part, Sheet

__all__ = ["costs", "without_clock"]

_CLOCK = re.compile(r'<section id="part-\d+" class="clock">.*?</section>\n', re.DOTALL)


def costs(timing: Mapping[str, Any]) -> list[Part]:
    """A row for each time that the run was started or resumed, and their sum; nothing where nothing was timed.

    `timing`: the content of timing.json.
    """
    sessions = timing.get("sessions", ())
    if not sessions:
        return []
    what = list(timing["seconds"])
    rows = [(_said(session["started"]), *_cells(session, what)) for session in sessions]
    whole = {"images": sum(session["images"] for session in sessions), "seconds": timing["seconds"]}
    rows += [("all", *_cells(whole, what))] if len(rows) > 1 else []
    sheet = Sheet(
        caption="Seconds by the clock, for each time that the run was started or resumed",
        head=["started", *what, "images trained on", "a second"],
        rows=rows,
        bold=frozenset({"all"}),
    )
    says = "Training is with its validation, checkpoints and pictures."
    return [Part(heading="Seconds", says=[says], sheets=[sheet], by_clock=True)]


def _cells(session: Mapping[str, Any], what: list[str]) -> list[str]:
    seconds, images = session["seconds"], session["images"]
    spent = seconds.get("training", 0.0)
    rate = f"{images / spent:,.0f}" if spent > 0 else "-"
    return [*(f"{seconds[name]:,.1f}" if name in seconds else "-" for name in what), f"{images:,}", rate]


def _said(started: str) -> str:
    return started.replace("T", " ").replace("+00:00", " UTC")


def without_clock(page: str) -> str:
    """A page without the parts that are otherwise each time that the same is done."""
    return _CLOCK.sub("", page)
