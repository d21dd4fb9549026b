"""Which models are evaluated, with which weights, and how."""

from matx.evaluation.evaluator import Judge, Scope, Scored, Subject
from matx.evaluation.external import Foreign, from_module, from_weights
from matx.evaluation.flow import EvalFolder, identity, open_evaluation, read_seconds, run_evaluation, verify_evaluation
from matx.evaluation.runs import from_run, load_suite, score_folder
from matx.evaluation.sanity import read_doubts, transfer_evaluation
from matx.evaluation.scoring import score

__all__ = [
    "EvalFolder",
    "Foreign",
    "Judge",
    "Scope",
    "Scored",
    "Subject",
    "from_module",
    "from_run",
    "from_weights",
    "identity",
    "load_suite",
    "open_evaluation",
    "read_doubts",
    "read_seconds",
    "run_evaluation",
    "score",
    "score_folder",
    "transfer_evaluation",
    "verify_evaluation",
]
