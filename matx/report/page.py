"""report.html: what was attacked and how, scores, training, what does not pass, configuration and commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matx.pages import Page, Part, render
from matx.report.drawn import drawn_scores, drawn_training
from matx.report.sheets import Seconds, sections
from matx.report.summary import how, reasons, summary
from matx.results import Results, models_of

__all__ = ["html"]


def html(
    found: Results,
    metrics: Iterable[Mapping[str, Any]] = (),
    seconds: Seconds | None = None,
    *,
    config: str = "",
    commands: Sequence[str] = (),
) -> str:
    """The page. `config` is the flattened gin text, `commands` what makes it again and goes on from here."""
    parts = [
        Part(heading="What was attacked, and how", items=how(found)),
        *(
            Part(
                heading=section.heading,
                sheets=section.sheets,
                figures=list(drawn_scores(found, section.checkpoint)),
            )
            for section in sections(found, seconds)
        ),
    ]
    failing = reasons(found)
    if failing:
        parts.append(Part(heading="What does not pass", items=failing))
    charts = list(drawn_training(metrics, models_of(found.scores), found.epochs.get("best")))
    if charts:
        parts.append(Part(heading="Training", figures=charts))
    if config:
        parts.append(Part(heading="Configuration", code=config, folded=True))
    if commands:
        parts.append(Part(heading="Commands", code="\n".join(commands)))
    return render(Page(title=found.experiment, says=summary(found), parts=parts))
