"""Scores of a run's checkpoints: the first place where the test split is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from matx import checkpoint
from matx.config import Loaded
from matx.data import Data
from matx.draws import seed_for
from matx.engine import Training
from matx.errors import CheckpointError, RunError, did_you_mean
from matx.evaluate import PeerScores, evaluate
from matx.experiment import Experiment
from matx.learner import bring_to_life
from matx.report import Results, results, write_flags
from matx.run.display import Display, Stages
from matx.run.environment import find_device
from matx.run.folder import RunFolder

__all__ = ["Scope", "score_folder", "score_run"]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What of a run is evaluated, and how; the defaults are those of the end of a run."""

    checkpoints: Sequence[str] = ("best", "last")
    peers: Sequence[str] = ()
    """Empty: all."""
    images: int | None = None
    """At most so many; None: as the experiment says."""
    seed: int | None = None
    """Of the evaluation's draws; None: the experiment's."""
    ema: bool = False
    """The moving averages of the weights instead of the weights."""


def score_run(name: str, training: Training, folder: RunFolder, display: Display) -> Results:
    """The results of a run whose training is done, its flags written beside; learners keep the weights of `last`."""
    stored: dict[str, Mapping[str, Any]] = {"last": training.state_dict()}
    if folder.best.is_file() and training.best is not None and training.best[0] != training.position.epoch:
        stored["best"] = checkpoint.load(folder.best, training.device).training
    modules = {peer: learner.module for peer, learner in training.learners.items()}
    states = {which: _weights(state, modules, ema=False) for which, state in stored.items()}
    judge = _Judge(training.experiment, training.data, training.device, Scope(), display)
    scores = {which: judge(modules, states[which], which) for which in sorted(states)}
    _write_flags(folder.flags, judge, scores)
    return _results(name, judge, scores, stored["last"])


def _write_flags(path: Path, judge: _Judge, scores: Mapping[str, dict[str, PeerScores]]) -> None:
    """Per-image flags; where best and last are one epoch, they stand under both names."""
    test, rows = judge.data.test, torch.arange(judge.images)
    both = {which: scores.get(which) or scores["last"] for which in ("best", "last")}
    write_flags(path, both, indices=test.indices[rows], labels=test.labels[rows])


def score_folder(loaded: Loaded, name: str, folder: RunFolder, scope: Scope, device: str, display: Display) -> Results:
    """The results of a run's checkpoints, anew, under the evaluation of `loaded` (which may differ from the run's)."""
    experiment, place = loaded.experiment, find_device(device)
    peers = _chosen(scope.peers, experiment)
    stored: dict[str, Mapping[str, Any]] = {}
    for which in scope.checkpoints:
        found = checkpoint.load(folder.best if which == "best" else folder.last, place)
        _refuse_other_models(found.settings, checkpoint.settings(experiment), folder)
        stored[which] = found.training
    data = experiment.dataset()
    modules = {peer: _bare(peer, experiment, data, place) for peer in peers}
    if len(stored) > 1 and stored["best"]["position"] == stored["last"]["position"]:
        del stored["best"]
    judge = _Judge(experiment, data, place, scope, display)
    scores = {which: judge(modules, _weights(state, modules, ema=scope.ema), which) for which, state in stored.items()}
    return _results(name, judge, scores, next(reversed(stored.values())))


@dataclass(frozen=True, eq=False)
class _Judge:
    """Evaluates modules on the test split as the experiment and a scope say."""

    experiment: Experiment
    data: Data
    device: torch.device
    scope: Scope
    display: Display

    @property
    def images(self) -> int:
        """How many test images count."""
        limit = self.scope.images or self.experiment.evaluation.images
        return min(len(self.data.test.labels), limit or len(self.data.test.labels))

    def __call__(
        self, modules: Mapping[str, nn.Module], weights: Mapping[str, Any], which: str
    ) -> dict[str, PeerScores]:
        evaluation = self.experiment.evaluation
        for name, module in modules.items():
            module.load_state_dict(weights[name])
        total = len(modules) * max(1, len(evaluation.attacks))
        with self.display.bar(f"evaluating {which}, attack", total) as bar:
            return evaluate(
                modules,
                self.data.test,
                evaluation.attacks,
                seed=seed_for(self.experiment.seed if self.scope.seed is None else self.scope.seed, "test"),
                batch_size=evaluation.batch_size,
                limit=self.images,
                device=self.device,
                progress=Stages(bar, tuple(modules), len(evaluation.attacks)),
            )


def _bare(name: str, experiment: Experiment, data: Data, device: torch.device) -> nn.Module:
    """A peer's module; the checkpoint holds its weights, wherever they started."""
    peer = replace(experiment.peers[name], frozen=False, weights=None)
    return bring_to_life(name, peer, data, seed=experiment.seed, device=device).module


def _results(
    name: str, judge: _Judge, scores: Mapping[str, dict[str, PeerScores]], state: Mapping[str, Any]
) -> Results:
    """results.json; where only one checkpoint was judged it stands for both if they are of one epoch."""
    position, steps = state["position"], state["seen"][0]
    best = state["best"][0] if state["best"] is not None else position[0]
    both = "last" in judge.scope.checkpoints and "best" in judge.scope.checkpoints
    first = scores.get("best") or scores["last"]
    evaluated = [peer for peer in judge.experiment.scored if peer in first]
    return results(
        experiment=name,
        dataset={
            "name": judge.data.name,
            "split": "test",
            "n": judge.images,
            "fingerprint": judge.data.test.fingerprint(),
        },
        scored=evaluated,
        best=first,
        best_epoch=position[0] if tuple(judge.scope.checkpoints) == ("last",) else best,
        last=scores.get("last") if both else None,
        last_epoch=position[0] if both else None,
        passes={what: count / max(1, steps) for what, count in state["passes"].items()},
        checkpoint="best" if "best" in judge.scope.checkpoints else "last",
    )


def _weights(state: Mapping[str, Any], modules: Mapping[str, nn.Module], *, ema: bool) -> dict[str, Any]:
    """{peer: weights} of a training state, as copies where they are live."""
    found = {}
    for name in modules:
        learner = state["learners"][name]
        if ema and "ema" not in learner:
            raise CheckpointError(f"--ema: peer {name!r} keeps no moving average; allowed: peers with Peer.ema set")
        weights = learner["ema" if ema else "module"]
        found[name] = {key: tensor.clone() for key, tensor in weights.items()}
    return found


def _chosen(names: Sequence[str], experiment: Experiment) -> tuple[str, ...]:
    for name in names:
        if name not in experiment.peers:
            known = ", ".join(experiment.peers)
            raise RunError(f"--peer: got {name!r}, allowed: {known}{did_you_mean(name, experiment.peers)}")
    return tuple(name for name in experiment.peers if not names or name in names)


def _refuse_other_models(stored: Mapping[str, str], given: Mapping[str, str], folder: RunFolder) -> None:
    """An evaluation may change how is attacked, not what: the data and the architectures."""

    def what(settings: Mapping[str, str]) -> dict[str, str]:
        return {k: v for k, v in settings.items() if k.startswith("dataset") or ".architecture" in k}

    found = checkpoint.differences(what(stored), what(given))
    if found:
        path = Path(folder.path)
        raise CheckpointError(
            f"{path}: was trained as another experiment ({'; '.join(found)}); allowed: the same models"
        )
