"""Which models are evaluated, with which weights, and how."""

from matx.evaluation.eval_folder import EvalFolder, identity_of_evaluation, open_evaluation
from matx.evaluation.evaluating import evaluate, evaluate_beside, read_seconds, run_evaluation, verify_evaluation
from matx.evaluation.evaluator import Evaluator
from matx.evaluation.exported import (
    WEIGHTS_SUFFIX,
    ZOO,
    ExportedFolder,
    exported_peer,
    find_exported,
    read_about,
    target_of_exported,
)
from matx.evaluation.external import ExternalModel, from_module, from_weights, target_of_modules
from matx.evaluation.illustrating import illustrate
from matx.evaluation.suites import Asked, load_suite, named_metrics, packaged_metrics, settings_of
from matx.evaluation.target import Selection, Target, WeightSet
from matx.evaluation.targets import target_of_folder, target_of_run, target_of_training

__all__ = [
    "WEIGHTS_SUFFIX",
    "ZOO",
    "Asked",
    "EvalFolder",
    "Evaluator",
    "ExportedFolder",
    "ExternalModel",
    "Selection",
    "Target",
    "WeightSet",
    "evaluate",
    "evaluate_beside",
    "exported_peer",
    "find_exported",
    "from_module",
    "from_weights",
    "identity_of_evaluation",
    "illustrate",
    "load_suite",
    "named_metrics",
    "open_evaluation",
    "packaged_metrics",
    "read_about",
    "read_seconds",
    "run_evaluation",
    "settings_of",
    "target_of_exported",
    "target_of_folder",
    "target_of_modules",
    "target_of_run",
    "target_of_training",
    "verify_evaluation",
]
