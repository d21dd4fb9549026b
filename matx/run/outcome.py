"""The trackers of a run, and what it tells them at its end: test figures, means, and who is fooled by whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matx.interfaces import Outcome, Scalars, Table, TrackedRun
from matx.results import Illustrations, Results, headings, mean_of, scores_at
from matx.run.active_run import ActiveRun
from matx.run.reporting import resolved_of
from matx.runtime.tracking import Trackers, trackers_of

__all__ = ["opened_trackers", "tell_outcome"]

_ROW = ("strategy", "epochs", "batch_size", "seed", "teacher_mode")
"""The settings of a row, of the experiment's own and what lies below them."""


def opened_trackers(parts: ActiveRun) -> Trackers:
    """The open trackers of a run that begins or goes on; of several processes, rank 0 has them."""
    training, folder = parts.training, parts.folder
    chosen = trackers_of(training.experiment) if training.places.world.writes else ()
    settings = dict(_row(resolved_of(folder)))
    return Trackers(chosen, TrackedRun(name=parts.name, folder=folder.path, steps=training.steps, settings=settings))


def tell_outcome(trackers: Trackers, found: Results, illustrations: Illustrations | None, step: int) -> None:
    """Test figures of the best checkpoint by peer, their means, the transfer matrices."""
    scores = scores_at(found.scores, checkpoint=found.checkpoint_of("best"), weights="raw")
    names = headings(scores)
    figures: dict[str, dict[str, float]] = {}
    for score in scores:
        if score.source is None:
            figures.setdefault(score.model, {})[names[score.metric, score.column]] = score.value
    means = {
        heading: mean
        for (metric, column), heading in names.items()
        if (mean := mean_of(scores, found.scored, metric, column)) is not None
    }
    trackers.tell(Scalars(group="test", values={**figures, "": means}, step=step))
    for key, (head, rows) in _transfers(illustrations):
        trackers.tell(Table(name=f"transfer/{key}", head=head, rows=rows, step=step))
    trackers.tell(Outcome(metrics={f"test/{heading}": mean for heading, mean in means.items()}, step=step))


def _row(resolved: Mapping[str, Any]) -> Iterator[tuple[str, bool | int | float | str]]:
    """The settings that tell runs apart, of all that a run resolved."""
    for name in _ROW:
        value = resolved.get(name)
        below = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, item in below:
            if isinstance(item, bool | int | float | str):
                yield (name if key in ("", "@") else f"{name}.{key}"), item


def _transfers(found: Illustrations | None) -> Iterator[tuple[str, tuple[list[str], list[list[str]]]]]:
    """{threat key: a table of how many of the examples of a row's model the column's model gets right}."""
    for at, key in enumerate(() if found is None else found.threats):
        assert found is not None
        right = found.transfer[:, :, at]
        rows = [
            [source, *(f"{100 * float(right[asked, row]):.1f} %" for asked in range(len(found.models)))]
            for row, source in enumerate(found.models)
        ]
        yield key, (["examples of", *found.models], rows)
