"""Results: scores as rows, how they were made, and the per-sample columns behind them; written and read as files."""

from matx.results.flags import FLAGS, FlagColumn, read_flags, whole_flags, write_flags
from matx.results.illustrations import (
    ILLUSTRATIONS,
    Illustrations,
    read_illustrations,
    write_illustrations,
)
from matx.results.results import (
    RESULTS,
    SCHEMA,
    AttackUsed,
    MetricUsed,
    Results,
    SanityReason,
    finished_results,
    read_results,
    write_results,
)
from matx.results.score import (
    CLEAN,
    ENSEMBLE,
    NOT_CHECKED,
    UNION,
    Score,
    headings,
    mean_of,
    models_of,
    scores_at,
    threat_of,
)

__all__ = [
    "CLEAN",
    "ENSEMBLE",
    "FLAGS",
    "ILLUSTRATIONS",
    "NOT_CHECKED",
    "RESULTS",
    "SCHEMA",
    "UNION",
    "AttackUsed",
    "FlagColumn",
    "Illustrations",
    "MetricUsed",
    "Results",
    "SanityReason",
    "Score",
    "finished_results",
    "headings",
    "mean_of",
    "models_of",
    "read_flags",
    "read_illustrations",
    "read_results",
    "scores_at",
    "threat_of",
    "whole_flags",
    "write_flags",
    "write_illustrations",
    "write_results",
]
