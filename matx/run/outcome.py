"""What a run came to, for TensorBoard: a row of settings and figures, every test figure, and who is fooled by whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matx.results import Illustrations, Results, headings, mean_of, scores_at
from matx.runtime.board import Board
from matx.runtime.folder import RunFolder

__all__ = ["write_outcome"]

_ROW = ("strategy", "epochs", "batch_size", "seed", "teacher_mode")
"""The settings of a row, of the experiment's own and what lies below them."""


def write_outcome(
    folder: RunFolder, found: Results, resolved: Mapping[str, Any], illustrations: Illustrations | None, step: int
) -> None:
    """Test figures of the best checkpoint on the peers' cards, the row of the run, and the transfer matrices."""
    board = Board(folder.tensorboard)
    scores = scores_at(found.scores, checkpoint=found.checkpoint_of("best"), weights="raw")
    names = headings(scores)
    for score in scores:
        if score.source is None:
            board.scalars("test", {score.model: {names[score.metric, score.column]: score.value}}, step)
    means = {
        f"test/{heading}": mean
        for (metric, column), heading in names.items()
        if (mean := mean_of(scores, found.scored, metric, column)) is not None
    }
    for name, mean in means.items():  # a row of hparams shows the run's own values
        board.scalar(name, mean, step)
    board.outcome(dict(_row(resolved)), means)
    for key, (head, rows) in _transfers(illustrations):
        board.table(f"transfer/{key}", head, rows, step)
    board.close()


def _row(resolved: Mapping[str, Any]) -> Iterator[tuple[str, bool | int | float | str]]:
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
