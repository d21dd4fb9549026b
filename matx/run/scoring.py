"""Scores of models on test images: of a run's checkpoints, or of anybody's weights. The test split is opened here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from matx import checkpoint
from matx.data import Data
from matx.draws import seed_for
from matx.engine import Training
from matx.errors import CheckpointError, RunError
from matx.evaluate import ENSEMBLE, Ensemble, FolderRecords, PeerScores, Rate, aimed, by_threat, evaluate
from matx.experiment import Evaluation, Experiment
from matx.interfaces import Attack
from matx.report import Results, results, write_flags
from matx.run.display import Display, Stages
from matx.run.folder import RunFolder
from matx.threat import ThreatModel

__all__ = ["Judge", "Scope", "Scored", "Subject", "facts", "score", "score_run", "store_flags", "weights_of"]


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
    ema: bool = False
    """The moving averages of the weights instead of the weights."""
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
    """{checkpoint: {peer: weights}}."""
    facts: Mapping[str, Any]
    """What `matx.report.results` wants to know beside scores."""
    warnings: tuple[str, ...] = ()


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
        for name, module in self.subject.modules.items():
            module.load_state_dict(self.subject.states[which][name])
        found = dict(self.subject.modules)
        if self.scope.ensemble and len(found) > 1:
            if ENSEMBLE in found:
                raise RunError(f"a peer is called {ENSEMBLE!r}, which is reported under this name; use --no-ensemble")
            found[ENSEMBLE] = Ensemble(self.subject.modules.values())
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


def score(judge: Judge) -> tuple[Results, dict[str, Scored]]:
    """The results of every checkpoint of a subject, and what they count."""
    scored = {which: judge(which) for which in judge.subject.states}
    first = scored.get("best") or next(iter(scored.values()))
    last = scored.get("last")
    dataset = {
        "name": judge.subject.data.name,
        "split": "test",
        "n": judge.images,
        "fingerprint": judge.subject.data.test.fingerprint(),
    }
    known = dict(judge.subject.facts)
    both = known.pop("both")
    found = results(
        experiment=judge.subject.name,
        dataset=dataset,
        best=first.peers,
        grid=first.grid,
        last=last.peers if both and last else None,
        last_grid=last.grid if both and last else None,
        **known,
    )
    return found, scored


def score_run(name: str, training: Training, folder: RunFolder, display: Display) -> Results:
    """The results of a run whose training is done, its flags written beside; learners keep the weights of `last`."""
    stored: dict[str, Mapping[str, Any]] = {"last": training.state_dict()}
    if folder.best.is_file() and training.best is not None and training.best[0] != training.position.epoch:
        stored["best"] = checkpoint.load(folder.best, training.device).training
    experiment, scope = training.experiment, Scope()
    modules = {peer: learner.module for peer, learner in training.learners.items()}
    subject = Subject(
        name=name,
        evaluation=experiment.evaluation,
        seed=experiment.seed,
        data=training.data,
        device=training.device,
        modules=modules,
        states={which: weights_of(stored[which], modules, ema=False) for which in sorted(stored)},
        facts=facts(experiment, scope, stored["last"], tuple(modules)),
    )
    judge = Judge(subject, scope, display)
    found, scored = score(judge)
    store_flags(folder.flags, judge, scored)
    return found


def store_flags(path: Path, judge: Judge, scored: Mapping[str, Scored]) -> None:
    """Per-image flags; where best and last are one epoch, they stand under both names."""
    test, rows = judge.subject.data.test, torch.arange(judge.images)
    names = ("best", "last") if judge.subject.facts["both"] else tuple(scored)
    all_of_them = {which: (scored.get(which) or next(iter(scored.values()))).peers for which in names}
    write_flags(path, all_of_them, indices=test.indices[rows], labels=test.labels[rows])


def facts(experiment: Experiment, scope: Scope, state: Mapping[str, Any], peers: Sequence[str]) -> dict[str, Any]:
    """What results say of a run beside its scores."""
    epoch, steps = state["position"][0], state["seen"][0]
    best = state["best"][0] if state["best"] is not None else epoch
    both = "last" in scope.checkpoints and "best" in scope.checkpoints
    return {
        "both": both,
        "scored": [peer for peer in experiment.scored if peer in peers],
        "best_epoch": epoch if tuple(scope.checkpoints) == ("last",) else best,
        "last_epoch": epoch if both else None,
        "passes": {what: count / max(1, steps) for what, count in state["passes"].items()},
        "checkpoint": "best" if "best" in scope.checkpoints else "last",
    }


def weights_of(state: Mapping[str, Any], modules: Mapping[str, nn.Module], *, ema: bool) -> dict[str, Any]:
    """{peer: weights} of a training state, as copies where they are live."""
    found = {}
    for name in modules:
        learner = state["learners"][name]
        if ema and "ema" not in learner:
            raise CheckpointError(f"--ema: peer {name!r} keeps no moving average; allowed: those with ema or swa_from")
        weights = learner["ema" if ema else "module"]
        found[name] = {key: tensor.clone() for key, tensor in weights.items()}
    return found
