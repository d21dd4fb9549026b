"""Evaluation: robust and union accuracy as counts over samples, each with its interval."""

from matx.evaluate.answers import correct, plain_fp32
from matx.evaluate.ensemble import ENSEMBLE, Ensemble
from matx.evaluate.judging import CLEAN_STAGE, Progress, evaluate
from matx.evaluate.records import FolderRecords, Record, Records
from matx.evaluate.rounding import towards_clean
from matx.evaluate.scores import Flags, PeerScores, Rate
from matx.evaluate.threats import aimed, by_threat
from matx.evaluate.verify import Verified, verify

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
