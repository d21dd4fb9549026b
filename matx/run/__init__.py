"""A run: an experiment trained, evaluated and reported in a folder that describes itself and can be continued."""

from matx.run.beside import Measured, measured_for
from matx.run.dry_run import DryRun, dry_run
from matx.run.estimate import Cost, Estimate
from matx.run.execution import epochs, resume, run
from matx.run.reporting import report

__all__ = ["Cost", "DryRun", "Estimate", "Measured", "dry_run", "epochs", "measured_for", "report", "resume", "run"]
