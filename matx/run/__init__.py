"""A run: an experiment trained, evaluated and reported in a folder that describes itself and can be continued."""

from matx.run.execution import DryRun, dry_run, resume, run

__all__ = ["DryRun", "dry_run", "resume", "run"]
