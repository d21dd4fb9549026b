"""Scores of a results.json, for tests."""

from __future__ import annotations

from pathlib import Path

from matx.results import Score, read_results


def scores(path: Path | str, *, checkpoint: str | None = None, weights: str = "raw") -> dict[tuple[str, str], Score]:
    """{(model, column): score} of the models' own examples; of the first checkpoint unless one is named."""
    found = read_results(path)
    which = found.checkpoint_of(checkpoint) if checkpoint else found.scores[0].checkpoint
    return {
        (s.model, s.column): s for s in found.scores if (s.checkpoint, s.weights, s.source) == (which, weights, None)
    }


def models(path: Path | str) -> list[str]:
    """The models that are scored, in order."""
    return list(dict.fromkeys(score.model for score in read_results(path).scores))
