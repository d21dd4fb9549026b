"""Evaluation: robust and union accuracy as counts over samples, each with its interval."""

from matx.measure.answers import correct, plain_fp32
from matx.measure.ensemble import ENSEMBLE, Ensemble
from matx.measure.judging import CLEAN_STAGE, Progress, evaluate
from matx.measure.records import FolderRecords, Record, Records
from matx.measure.rounding import towards_clean
from matx.measure.scores import Flags, PeerScores, Rate
from matx.measure.threats import aimed, by_threat
from matx.measure.verify import Verified, verify

__all__ = [
    "CLEAN_STAGE",
    "ENSEMBLE",
    "Ensemble",
    "Flags",
    "FolderRecords",
    "PeerScores",
    "Progress",
    "Rate",
    "Record",
    "Records",
    "Verified",
    "aimed",
    "by_threat",
    "correct",
    "evaluate",
    "plain_fp32",
    "towards_clean",
    "verify",
]
