"""report.html: what was attacked and how, scores, training, what does not pass, configuration and commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matx.pages import Page, Part, render
from matx.report.costs import costs
from matx.report.drawn import drawn_scores, drawn_training
from matx.report.illustrated import illustrated
from matx.report.settings import settings_sheet
from matx.report.sheets import Seconds, sections
from matx.report.summary import how, in_words, reasons, summary
from matx.results import Illustrations, Results, models_of

__all__ = ["html", "training_page"]


def html(
    found: Results,
    metrics: Iterable[Mapping[str, Any]] = (),
    seconds: Seconds | None = None,
    *,
    config: str = "",
    resolved: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
    illustrations: Illustrations | None = None,
    timing: Mapping[str, Any] | None = None,
) -> str:
    """The page.

    `config` is the flattened gin text and `resolved` what every setting came to, `commands` what makes it again and
    goes on from here, `timing` the content of a run's timing.json.
    """
    parts = [
        Part(heading="What was attacked, and how", says=in_words(found), items=how(found)),
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
    if illustrations is not None:
        parts += illustrated(illustrations, found.scored)
    parts += _training(metrics, models_of(found.scores), found.epochs.get("best"))
    parts += costs(timing or {})
    parts += _configuration(config, resolved)
    if commands:
        parts.append(Part(heading="Commands", code="\n".join(commands)))
    return render(Page(title=found.experiment, says=summary(found), parts=parts))


def training_page(
    name: str,
    metrics: Iterable[Mapping[str, Any]],
    *,
    config: str,
    resolved: Mapping[str, Any] | None = None,
    timing: Mapping[str, Any] | None = None,
) -> str:
    """The page of a run that has no scores yet."""
    rows = list(metrics)
    peers = dict.fromkeys(peer for row in rows for peer in row.get("train", {}))
    epochs = max((row["epoch"] for row in rows if "step" not in row and "epoch" in row), default=0)
    says = [f"Not finished: {epochs} epochs are done, and nothing was evaluated on test images."]
    parts = [*_training(rows, list(peers), None), *costs(timing or {}), *_configuration(config, resolved)]
    return render(Page(title=name, says=says, parts=parts))


def _training(metrics: Iterable[Mapping[str, Any]], peers: Sequence[str], best: int | None) -> list[Part]:
    charts = list(drawn_training(metrics, peers, best))
    return [Part(heading="Training", figures=charts)] if charts else []


def _configuration(config: str, resolved: Mapping[str, Any] | None) -> list[Part]:
    sheet = settings_sheet(resolved or {})
    parts = [Part(heading="Settings", sheets=[sheet], folded=True)] if sheet is not None else []
    return [*parts, Part(heading="Configuration", code=config, folded=True)] if config else parts
