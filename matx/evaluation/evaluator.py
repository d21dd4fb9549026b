"""What is evaluated, with which weights, and how: the models of a subject are scored as a scope says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from matx.data import Data
from matx.errors import RunError
from matx.evaluation.stages import Stages
from matx.experiment import Evaluation
from matx.interfaces import Attack
from matx.measure import ENSEMBLE, Ensemble, FolderRecords, PeerScores, Rate, aimed, by_threat, evaluate
from matx.randomness import seed_for
from matx.runtime.progress import Display
from matx.threat import ThreatModel

__all__ = ["Judge", "Scope", "Scored", "Subject"]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What is evaluated, and how; the defaults are those of the end of a run."""

    checkpoints: Sequence[str] = ("best", "last")
    peers: Sequence[str] = ()
    """Empty: all."""
    images: int | None = None
    """At most so many; None: as the evaluation says."""
    seed: int | None = None
    """Of the evaluation's draws; None: the experiment's."""
    weights: Sequence[str] = ("raw",)
    """'raw', 'ema' (their averages: Peer.ema or Peer.swa_from), or both, which are reported side by side."""
    threats: Sequence[ThreatModel] = ()
    """What the attacks are aimed at; empty: as they are configured."""
    grid: Sequence[ThreatModel] = ()
    """Further radii, reported beside."""
    union_only: bool = False
    ensemble: bool = False
    """Also the mean of the peers' softmax outputs, attacked end to end, where there are several."""
    eight_bit: bool = False
    """Also on the examples rounded towards the clean pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """Live models and the weights that they are judged with, one set a checkpoint."""

    name: str
    evaluation: Evaluation
    seed: int
    data: Data
    device: torch.device
    modules: Mapping[str, nn.Module]
    states: Mapping[str, Mapping[str, Any]]
    """{checkpoint: {peer: weights}}; those of averages are named as `matx.report.named` says."""
    facts: Mapping[str, Any]
    """What `matx.report.results` wants to know beside scores."""
    warnings: tuple[str, ...] = ()

    def with_weights(self, which: str) -> dict[str, nn.Module]:
        """The models that have weights under this name, with these."""
        found = {name: module for name, module in self.modules.items() if name in self.states[which]}
        for name, module in found.items():
            module.load_state_dict(self.states[which][name])
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """The figures of one checkpoint."""

    peers: dict[str, PeerScores]
    """The ensemble among them, under its name."""
    grid: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    """{peer: {norm: [{"eps", "accuracy", "low", "high", "n"}, ...]}}, radii ascending."""


@dataclass(frozen=True, eq=False)
class Judge:
    """Evaluates a subject as a scope says; records of every batch go below `records` where one is given."""

    subject: Subject
    scope: Scope
    display: Display
    records: Path | None = None

    @property
    def images(self) -> int:
        """How many test images count."""
        limit = self.scope.images or self.subject.evaluation.images
        return min(len(self.subject.data.test.labels), limit or len(self.subject.data.test.labels))

    @property
    def seed(self) -> int:
        """Of the evaluation's draws."""
        return seed_for(self.subject.seed if self.scope.seed is None else self.scope.seed, "test")

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """The reported attacks."""
        own = tuple(self.subject.evaluation.attacks)
        return aimed(own, self.scope.threats) if self.scope.threats else own

    @property
    def further(self) -> tuple[Attack, ...]:
        """Those at the radii of the grid that are not reported anyway."""
        reported = by_threat(self.attacks)
        return aimed(self.attacks, [threat for threat in self.scope.grid if threat not in reported])

    def models(self, which: str) -> dict[str, nn.Module]:
        """The models with the weights of a checkpoint, and their ensemble where it is asked and there are several."""
        found = self.subject.with_weights(which)
        if self.scope.ensemble and len(found) > 1:
            if ENSEMBLE in found:
                raise RunError(f"a peer is called {ENSEMBLE!r}, which is reported under this name; use --no-ensemble")
            found[ENSEMBLE] = Ensemble(found.values())
        return found

    def __call__(self, which: str) -> Scored:
        """The figures of a checkpoint."""
        models, reported, attacks = self.models(which), by_threat(self.attacks), [*self.attacks, *self.further]
        total = len(models) * max(1, len(attacks))
        with self.display.bar(f"evaluating {which}, attack", total) as bar:
            found = evaluate(
                models,
                self.subject.data.test,
                attacks,
                seed=self.seed,
                batch_size=self.subject.evaluation.batch_size,
                limit=self.images,
                device=self.subject.device,
                progress=Stages(bar, tuple(models), len(attacks)),
                union_only=self.scope.union_only,
                eight_bit=self.scope.eight_bit,
                records=None if self.records is None else FolderRecords(self.records / which),
            )
        if not self.scope.grid:
            return Scored(peers=found)
        keys = [threat.key for threat in reported]
        peers = {name: PeerScores.of(one.flags.of(keys)) for name, one in found.items()}
        return Scored(peers=peers, grid={name: _grid(one) for name, one in found.items()})


def _grid(scores: PeerScores) -> dict[str, list[dict[str, Any]]]:
    """Every radius of every norm, ascending."""
    known = sorted((ThreatModel.parse(key) for key in scores.flags.threats), key=lambda threat: threat.exact)
    rows: dict[str, list[dict[str, Any]]] = {threat.norm: [] for threat in known}
    for threat in known:
        rate = Rate.of(scores.flags.threats[threat.key])
        rows[threat.norm].append({"eps": str(threat.eps), **rate.row()})
    return rows
