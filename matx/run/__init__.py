"""A run: an experiment trained, evaluated and reported in a folder that describes itself and can be continued."""

from matx.run.display import Display
from matx.run.flow import DryRun, dry_run, load_own, read_environment, resume, run
from matx.run.folder import RunFolder, create, open_folder, refuse_existing
from matx.run.interrupt import Interrupted
from matx.run.journal import lines
from matx.run.scoring import Scope, score_folder

__all__ = [
    "Display",
    "DryRun",
    "Interrupted",
    "RunFolder",
    "Scope",
    "create",
    "dry_run",
    "lines",
    "load_own",
    "open_folder",
    "read_environment",
    "refuse_existing",
    "resume",
    "run",
    "score_folder",
]
