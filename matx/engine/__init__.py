"""The engine: one generic step for every strategy. It never sees gin, and a strategy never sees an optimizer."""

from matx.engine.finite import refuse_weights
from matx.engine.loop import EpochRecord, StepRecord, fit, step
from matx.engine.normalising import normalised_by_parts
from matx.engine.starting import start
from matx.engine.training import PHASES, Position, Training

__all__ = [
    "PHASES",
    "EpochRecord",
    "Position",
    "StepRecord",
    "Training",
    "fit",
    "normalised_by_parts",
    "refuse_weights",
    "start",
    "step",
]
