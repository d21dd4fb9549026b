"""What is evaluated: live models, and the weights that they are evaluated with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from matx.data import Data
from matx.errors import RunError
from matx.experiment import Evaluation
from matx.measure import Ensemble
from matx.results import ENSEMBLE

__all__ = ["RAW", "Selection", "Target", "WeightSet"]

RAW = "raw"
"""Weights as they were trained; 'ema' are their averages."""


class WeightSet(NamedTuple):
    """Which weights: of a checkpoint, raw or averaged."""

    checkpoint: str
    weights: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which weights of a run are evaluated; the defaults are those of the end of a run."""

    checkpoints: Sequence[str] = ("best", "last")
    peers: Sequence[str] = ()
    """Empty: all."""
    weights: Sequence[str] = (RAW,)
    """'raw', 'ema' (their averages: Peer.ema or Peer.swa_from), or both, which are reported side by side."""
    ensemble: bool = False
    """Also the mean of the peers' softmax outputs, attacked end to end, where there are several."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """Live models, and the weights that they are evaluated with, one set a checkpoint and kind."""

    name: str
    evaluation: Evaluation
    """As the experiment, or the suite in its place, declares it."""
    seed: int
    data: Data
    device: torch.device
    modules: Mapping[str, nn.Module]
    states: Mapping[WeightSet, Mapping[str, Any]]
    """{weights: {model: state}}."""
    scored: Sequence[str] = ()
    """The models whose mean counts."""
    epochs: Mapping[str, int] = field(default_factory=dict)
    """{checkpoint: its epoch}; of two with one epoch, `states` has the first."""
    passes: Mapping[str, float] = field(default_factory=dict)
    """Per training image."""
    teacher_passes: Mapping[str, float] | None = field(default_factory=dict)
    """Of the training of its frozen teachers, per training image of its own; {}: it has none; None: not known."""
    best_by: str = RAW
    """Which weights chose the best epoch."""
    label_noise: float = 0.0
    """The share of its training labels that were wrong."""
    ensemble: bool = False
    warnings: tuple[str, ...] = ()

    def models(self, which: WeightSet) -> dict[str, nn.Module]:
        """The models that have these weights, with them, and their ensemble where it is asked of several."""
        found = {name: module for name, module in self.modules.items() if name in self.states[which]}
        for name, module in found.items():
            module.load_state_dict(self.states[which][name])
        if self.ensemble and len(found) > 1:
            if ENSEMBLE in found:
                raise RunError(f"a peer is called {ENSEMBLE!r}, which is reported under this name; use --no-ensemble")
            found[ENSEMBLE] = Ensemble(found.values())
        return found
