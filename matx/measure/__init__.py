"""Measuring models on batches: per-sample columns and their figures. Nothing here reads or writes a folder."""

from matx.measure.answers import correct, plain_fp32
from matx.measure.ensemble import Ensemble
from matx.measure.measuring import Measured, MeasuredBatch, flags_of, measure
from matx.measure.nearest import distances
from matx.measure.rates import Flags, Rate, counted
from matx.measure.records import MeasuredColumns, Records, SearchRecord
from matx.measure.rounding import towards_clean
from matx.measure.settings import EvaluationSettings, metric_name
from matx.measure.threats import aimed, by_threat, in_order
from matx.measure.transferring import crafted_on
from matx.measure.verify import Verified, verify

__all__ = [
    "Ensemble",
    "EvaluationSettings",
    "Flags",
    "Measured",
    "MeasuredBatch",
    "MeasuredColumns",
    "Rate",
    "Records",
    "SearchRecord",
    "Verified",
    "aimed",
    "by_threat",
    "correct",
    "counted",
    "crafted_on",
    "distances",
    "flags_of",
    "in_order",
    "measure",
    "metric_name",
    "plain_fp32",
    "towards_clean",
    "verify",
]
