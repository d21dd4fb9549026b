"""Evaluation: robust and union accuracy as counts over samples, each with its interval."""

from matx.evaluate.judging import CLEAN_STAGE, Progress, by_threat, evaluate
from matx.evaluate.scores import Flags, PeerScores, Rate

__all__ = ["CLEAN_STAGE", "Flags", "PeerScores", "Progress", "Rate", "by_threat", "evaluate"]
