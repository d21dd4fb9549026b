"""The front door in Python: attack a model, evaluate it, run an experiment, load what a run made."""

from matx.api.attacking import attack
from matx.api.loading import LoadedRun, load
from matx.api.measuring import evaluate
from matx.api.running import epochs, run_experiment

__all__ = ["LoadedRun", "attack", "epochs", "evaluate", "load", "run_experiment"]
