"""Scores that the tests of results, reports and comparisons share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from matx.interfaces import Column
from matx.measure import counted
from matx.results import AttackUsed, MetricUsed, Results, Score

PGD = AttackUsed(name="pgd", threat="linf:8/255", options={"steps": 20, "restarts": 1}, changed=["steps"])
METRICS = (
    MetricUsed(name="clean", table=""),
    MetricUsed(name="robust", table=""),
    MetricUsed(name="radii", table="Accuracy by radius, %"),
    MetricUsed(name="transfer", table="Transfer, %"),
)


def count(
    metric: str, column: str, model: str, correct: int, n: int = 20, *, checkpoint: str = "best", weights: str = "raw",
    source: str | None = None, sanity: str = "not checked",
) -> Score:  # fmt: skip
    """A share of n images."""
    figure = counted(Column(model, column, source), torch.arange(n) < correct)
    return Score.of(figure, checkpoint=checkpoint, weights=weights, metric=metric, sanity=sanity)


def model_scores(model: str, clean: int, threats: Mapping[str, int], union: int, **at: Any) -> list[Score]:
    """What `clean` and `robust` say of one model."""
    robust = [count("robust", key, model, correct, **at) for key, correct in threats.items()]
    return [count("clean", "clean", model, clean, **at), *robust, count("robust", "union", model, union, **at)]


def sample_results(scores: Sequence[Score] = (), **changes: Any) -> Results:
    """Two peers of `mat_union`, one of which counts, at two checkpoints; further scores and changes."""
    own = [
        *model_scores("linf", 18, {"linf:8/255": 12, "l1:12": 3}, 2),
        *model_scores("generalist", 16, {"linf:8/255": 10, "l1:12": 12}, 6),
        *model_scores("linf", 19, {"linf:8/255": 11, "l1:12": 3}, 2, checkpoint="last"),
        *model_scores("generalist", 17, {"linf:8/255": 9, "l1:12": 12}, 5, checkpoint="last"),
    ]
    known: dict[str, Any] = {
        "experiment": "mat_union",
        "scores": [*own, *scores],
        "dataset": {"name": "digits", "split": "test", "n": 20, "fingerprint": "abc"},
        "scored": ("generalist",),
        "epochs": {"best": 7, "last": 10},
        "passes": {"forward": 25.0, "backward_input": 10.0, "backward_weights": 2.0},
        "attacks": [PGD],
        "metrics": METRICS,
        "seed": 3,
        "settings": {"batch_size": 256, "union_only": False},
        "provenance": {"torch": "2.6.0", "device": "cpu", "date": "2026-01-31"},
    }
    return Results(**{**known, **changes})
