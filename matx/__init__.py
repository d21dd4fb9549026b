"""matx: mutual adversarial training, declared in gin. Importing it loads no torch; names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matx.api import LoadedRun, attack, epochs, evaluate, load, run_experiment
    from matx.data import Data, MemorySplit, Split
    from matx.errors import MatxError
    from matx.exchange import CLEAN, Exchange, Mix, Needs, PeerInfo, PeerLoss, State
    from matx.experiment import Evaluation, Experiment, Peer, Tune
    from matx.interfaces import AttackInput, FreeObjective, LogitObjective, Neutral
    from matx.options import Range
    from matx.registration import (
        architectures,
        attacks,
        augmentations,
        datasets,
        metrics,
        optimizers,
        schedules,
        strategies,
        trackers,
        unions,
    )
    from matx.threat import ThreatModel

__version__ = "0.1.0"

_HOME = {
    "LoadedRun": "api",
    "attack": "api",
    "epochs": "api",
    "evaluate": "api",
    "load": "api",
    "run_experiment": "api",
    "Data": "data",
    "MemorySplit": "data",
    "Split": "data",
    "MatxError": "errors",
    "CLEAN": "exchange",
    "Exchange": "exchange",
    "Mix": "exchange",
    "Needs": "exchange",
    "PeerInfo": "exchange",
    "PeerLoss": "exchange",
    "State": "exchange",
    "Evaluation": "experiment",
    "Experiment": "experiment",
    "Peer": "experiment",
    "Tune": "experiment",
    "FreeObjective": "interfaces",
    "AttackInput": "interfaces",
    "LogitObjective": "interfaces",
    "Neutral": "interfaces",
    "Range": "options",
    "ThreatModel": "threat",
}

__all__ = [
    "CLEAN",
    "AttackInput",
    "Data",
    "Evaluation",
    "Exchange",
    "Experiment",
    "FreeObjective",
    "LoadedRun",
    "LogitObjective",
    "MatxError",
    "MemorySplit",
    "Mix",
    "Needs",
    "Neutral",
    "Peer",
    "PeerInfo",
    "PeerLoss",
    "Range",
    "Split",
    "State",
    "ThreatModel",
    "Tune",
    "__version__",
    "architectures",
    "attack",
    "attacks",
    "augmentations",
    "datasets",
    "epochs",
    "evaluate",
    "load",
    "metrics",
    "optimizers",
    "run_experiment",
    "schedules",
    "strategies",
    "trackers",
    "unions",
]


def __getattr__(name: str) -> Any:
    if name.startswith("_") or (name not in _HOME and find_spec(f"matx.{name}")):  # a submodule is imported as such
        raise AttributeError(f"module 'matx' has no attribute {name!r}")
    if _HOME.get(name, "api") == "api":  # a registry finds the installed plug-ins by it
        import_module("matx.plugins")
    try:
        value = getattr(import_module(f"matx.{_HOME.get(name, 'registration')}"), name)
    except AttributeError:
        raise AttributeError(f"module 'matx' has no attribute {name!r}") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
