"""What is evaluated of a run: its peers, at its checkpoints, under its own Evaluation or a suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from matx.config import Loaded, load_experiment
from matx.config.recipes import packaged_recipes
from matx.data import Data
from matx.errors import CheckpointError, OptionError, RunError, did_you_mean
from matx.evaluation.evaluator import Judge, Scope, Subject
from matx.evaluation.scoring import facts, score, weights_of
from matx.experiment import Evaluation, Experiment
from matx.learner import build_learner
from matx.measure import aimed, by_threat
from matx.report import Results
from matx.runtime import checkpoint
from matx.runtime.environment import find_device, spare_threads
from matx.runtime.folder import RunFolder
from matx.runtime.identity import differences, identity_of, images_of, settings
from matx.runtime.progress import Display
from matx.runtime.stored import load_own, read_environment

__all__ = ["SUITES", "from_run", "load_suite", "of_folder", "score_folder"]

SUITES = "suites"
"""The folder of packaged recipes whose Evaluation is a suite."""


def load_suite(name: str, bindings: Sequence[str] = ()) -> Loaded:
    """A suite by name ('pgd'), or a gin file with one; ConfigError as for any gin file."""
    packaged = [recipe.partition("/")[2] for recipe in packaged_recipes() if recipe.startswith(f"{SUITES}/")]
    if name in packaged:
        return load_experiment([f"{SUITES}/{name}"], bindings)
    if not Path(name).is_file() and not Path(f"{name}.gin").is_file():
        raise OptionError(
            f"--suite: got {name!r}, allowed: {', '.join(packaged)}, or a gin file{did_you_mean(name, packaged)}"
        )
    return load_experiment([name], bindings)


def from_run(
    folder: RunFolder, scope: Scope, device: str, *, suite: str | None = None, bindings: Sequence[str] = ()
) -> Subject:
    """The chosen peers of a run. Bindings change its Evaluation, or the suite's where one takes its place.

    A suite is aimed at the threat models of the run's own attacks, unless the scope names others.
    """
    loaded = load_own(folder, () if suite else bindings)
    subject = of_folder(loaded, str(read_environment(folder)["experiment"]), folder, scope, device)
    if suite is None:
        return replace(subject, warnings=loaded.warnings)
    evaluation = _of_suite(suite, bindings)
    own = by_threat(subject.evaluation.attacks)
    if own and not scope.threats:
        evaluation = replace(evaluation, attacks=aimed(evaluation.attacks, own))
    return replace(subject, evaluation=evaluation)


def _of_suite(suite: str, bindings: Sequence[str]) -> Evaluation:
    """The suite's Evaluation; bindings that reach anything else are refused, for they would change nothing."""
    changed, plain = load_suite(suite, bindings).experiment, load_suite(suite).experiment
    found = differences(settings(plain), settings(changed))
    idle = [line for line in found if not line.startswith("evaluation")]
    if idle:
        raise OptionError(f"-s: {idle[0]} has no effect; allowed with --suite: settings of its Evaluation and attacks")
    return changed.evaluation


def of_folder(loaded: Loaded, name: str, folder: RunFolder, scope: Scope, device: str) -> Subject:
    """The chosen peers of a run as the experiment of `loaded`, whose evaluation may differ from the run's."""
    experiment, place = loaded.experiment, find_device(device)
    peers = _chosen(scope.peers, experiment)
    stored: dict[str, Mapping[str, Any]] = {}
    for which in scope.checkpoints:
        file = folder.best if which == "best" else folder.last
        if not file.is_file():
            _refuse_missing(folder, which)
        found = checkpoint.load(file, place)
        _refuse_other_models(found, experiment, folder)
        stored[which] = found.training
    data = experiment.dataset()
    checkpoint.refuse_other_images(found, images_of(experiment, data), file)
    spare_threads(place, data.image_shape)
    modules = {peer: _bare(peer, experiment, data, place) for peer in peers}
    known = facts(experiment, scope, next(reversed(stored.values())), peers)
    if len(stored) > 1 and stored["best"]["position"] == stored["last"]["position"]:
        del stored["best"]
    return Subject(
        name=name,
        evaluation=experiment.evaluation,
        seed=experiment.seed,
        data=data,
        device=place,
        modules=modules,
        states=weights_of(stored, modules, scope.weights),
        facts=known,
    )


def _refuse_missing(folder: RunFolder, which: str) -> None:
    """Refuse a checkpoint that is not there, and name the one that is."""
    there = [name for name, file in (("best", folder.best), ("last", folder.last)) if file.is_file()]
    allowed = f"--checkpoint {there[0]}" if there else "a run folder that still holds its checkpoints"
    raise CheckpointError(f"{folder.path}/checkpoints/{which}.pt: no such checkpoint; allowed: {allowed}")


def score_folder(loaded: Loaded, name: str, folder: RunFolder, scope: Scope, device: str, display: Display) -> Results:
    """The results of a run's checkpoints, anew, under the evaluation of `loaded`; nothing is written."""
    return score(Judge(of_folder(loaded, name, folder, scope, device), scope, display))[0]


def _bare(name: str, experiment: Experiment, data: Data, device: torch.device) -> nn.Module:
    """A peer's module; the checkpoint holds its weights, wherever they started."""
    peer = replace(experiment.peers[name], frozen=False, weights=None)
    return build_learner(name, peer, data, seed=experiment.seed, device=device).module


def _chosen(names: Sequence[str], experiment: Experiment) -> tuple[str, ...]:
    for name in names:
        if name not in experiment.peers:
            known = ", ".join(experiment.peers)
            raise RunError(f"--peer: got {name!r}, allowed: {known}{did_you_mean(name, experiment.peers)}")
    return tuple(name for name in experiment.peers if not names or name in names)


def _refuse_other_models(stored: checkpoint.Checkpoint, experiment: Experiment, folder: RunFolder) -> None:
    """An evaluation may change how is attacked, not what: the data and the architectures."""
    architectures = {name: {"architecture": peer.architecture} for name, peer in experiment.peers.items()}
    part = {k: v for k, v in stored.identity.items() if k.startswith("dataset") or ".architecture" in k}
    checkpoint.refuse_other_experiment(
        replace(stored, identity=part),
        identity_of({"dataset": experiment.dataset, "peers": architectures}),
        folder.path,
    )
