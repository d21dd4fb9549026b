"""A run: an experiment trained, evaluated and reported in a folder that describes itself and can be continued."""

from matx.run.display import Display
from matx.run.doubts import read_doubts, transfer_evaluation
from matx.run.evaluation import (
    EvalFolder,
    identity,
    open_evaluation,
    read_seconds,
    run_evaluation,
    verify_evaluation,
)
from matx.run.flow import DryRun, dry_run, load_own, read_environment, resume, run
from matx.run.folder import RunFolder, create, open_folder, refuse_existing
from matx.run.foreign import Foreign, from_module, from_weights
from matx.run.interrupt import Interrupted
from matx.run.journal import lines
from matx.run.judge import Judge, Scope, Scored, Subject
from matx.run.scoring import score
from matx.run.subjects import from_run, load_suite, score_folder

__all__ = [
    "Display",
    "DryRun",
    "EvalFolder",
    "Foreign",
    "Interrupted",
    "Judge",
    "RunFolder",
    "Scope",
    "Scored",
    "Subject",
    "create",
    "dry_run",
    "from_module",
    "from_run",
    "from_weights",
    "identity",
    "lines",
    "load_own",
    "load_suite",
    "open_evaluation",
    "open_folder",
    "read_doubts",
    "read_environment",
    "read_seconds",
    "refuse_existing",
    "resume",
    "run",
    "run_evaluation",
    "score",
    "score_folder",
    "transfer_evaluation",
    "verify_evaluation",
]
