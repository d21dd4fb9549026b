"""Targets of runs: chosen peers at their checkpoints, under the run's own Evaluation or a suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from matx.config import Loaded
from matx.data import Data
from matx.engine import Training
from matx.errors import CheckpointError, OptionError, RunError, did_you_mean
from matx.evaluation.suites import load_suite
from matx.evaluation.target import RAW, Selection, Target, WeightSet
from matx.experiment import Evaluation, Experiment, data_of
from matx.learner import build_learner
from matx.measure import aimed, by_threat
from matx.runtime import checkpoint
from matx.runtime.environment import find_device, keep_freed_memory, spare_threads
from matx.runtime.folder import RunFolder
from matx.runtime.identity import differences, identity_of, images_of, settings
from matx.runtime.stored import load_own, read_environment, read_identity
from matx.threat import ThreatModel

__all__ = ["target_of_folder", "target_of_run", "target_of_training", "under_suite"]

State = Mapping[str, Any]
"""A training's state, as its checkpoint holds it."""


def target_of_run(
    folder: RunFolder,
    selection: Selection,
    device: str,
    *,
    suite: str | None = None,
    bindings: Sequence[str] = (),
    threats: Sequence[ThreatModel] = (),
) -> Target:
    """The chosen peers of a run. Bindings change its Evaluation, or the suite's where one takes its place.

    A suite is aimed at the threat models named, else at those of the run's own attacks.
    """
    loaded = load_own(folder, () if suite else bindings)
    found = target_of_folder(loaded, str(read_environment(folder)["experiment"]), folder, selection, device)
    if suite is None:
        return replace(found, warnings=loaded.warnings)
    return under_suite(found, suite, bindings, threats)


def under_suite(found: Target, suite: str, bindings: Sequence[str], threats: Sequence[ThreatModel]) -> Target:
    """The target under a suite, aimed at the threat models named, else at those of its own attacks."""
    evaluation = _of_suite(suite, bindings)
    reported = tuple(threats) or tuple(by_threat(found.evaluation.attacks))
    if reported:
        evaluation = replace(evaluation, attacks=aimed(evaluation.attacks, reported))
    return replace(found, evaluation=evaluation)


def target_of_folder(loaded: Loaded, name: str, folder: RunFolder, selection: Selection, device: str) -> Target:
    """The chosen peers of a run as the experiment of `loaded`, whose evaluation may differ from the run's."""
    experiment, place = loaded.experiment, find_device(device)
    stored: dict[str, State] = {}
    identity = read_identity(folder)
    for which in selection.checkpoints:
        file = folder.best if which == "best" else folder.last
        if not file.is_file():
            _refuse_missing(folder, which)
        if which == "best":
            found = checkpoint.load_of(file, identity, device=place)
        else:
            found, file = _last(folder, identity, place)
        _refuse_other_models(found, experiment, folder)
        stored[which] = found.training
    _refuse_other_epoch(folder, stored, identity)
    data = data_of(experiment)
    checkpoint.refuse_other_images(found, images_of(experiment, data), file)
    spare_threads(place, data.image_shape)
    keep_freed_memory(place)
    modules = {peer: _bare(peer, experiment, data, place) for peer in _chosen(selection.peers, experiment)}
    return _target(name, experiment, data, modules, stored, selection)


def target_of_training(name: str, training: Training, best: State | None) -> Target:
    """A run whose training is done; `best` is the state of its best epoch where that is not the last one."""
    last = training.state_dict()
    modules = {peer: learner.module for peer, learner in training.learners.items()}
    stored = {"best": last if best is None else best, "last": last}
    weights = (RAW, "ema") if training.experiment.evaluation.best_by == "ema" else (RAW,)
    return _target(name, training.experiment, training.data, modules, stored, Selection(weights=weights))


def _target(
    name: str, experiment: Experiment, data: Data, modules: Mapping[str, nn.Module], stored: Mapping[str, State],
    selection: Selection,
) -> Target:  # fmt: skip
    newest = list(stored.values())[-1]
    epochs = {which: int(state["position"][0]) for which, state in stored.items()}
    different = {epoch: which for which, epoch in reversed(epochs.items())}
    kept = {which: stored[which] for which in stored if which in different.values()}
    teachers = newest.get("teacher_passes", {}) if any(peer.frozen for peer in experiment.peers.values()) else {}
    return Target(
        name=name,
        evaluation=experiment.evaluation,
        seed=experiment.seed,
        data=data,
        device=next(p.device for module in modules.values() for p in module.parameters()),
        modules=modules,
        states=dict(_weights(kept, modules, selection.weights)),
        scored=[peer for peer in experiment.scored if peer in modules],
        epochs=epochs,
        passes=_per_image(newest["passes"], newest),
        teacher_passes=None if teachers is None else _per_image(teachers, newest),
        best_by=newest.get("best_by", RAW),
        label_noise=experiment.label_noise,
        ensemble=selection.ensemble,
    )


def _per_image(passes: Mapping[str, int], state: State) -> dict[str, float]:
    return {what: count / max(1, state["seen"][0]) for what, count in passes.items()}


def _weights(
    stored: Mapping[str, State], modules: Mapping[str, nn.Module], kinds: Sequence[str]
) -> Iterator[tuple[WeightSet, dict[str, Any]]]:
    """The weights of every checkpoint and kind, as copies where they are live.

    Of averages alone every peer must have one; beside the raw weights, at least one peer must.
    """
    for which, state in stored.items():
        for kind in kinds:
            part = "module" if kind == RAW else kind
            having = [name for name in modules if part in state["learners"][name]]
            lacking = [name for name in modules if name not in having]
            if lacking and (len(kinds) == 1 or not having):
                raise CheckpointError(
                    f"--ema: peer {lacking[0]!r} keeps no moving average; allowed: those with ema or swa_from"
                )
            yield WeightSet(which, kind), {name: _copied(state["learners"][name][part]) for name in having}


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in weights.items()}


def _of_suite(suite: str, bindings: Sequence[str]) -> Evaluation:
    """The suite's Evaluation; bindings that reach anything else are refused, for they would change nothing."""
    changed, plain = load_suite(suite, bindings).experiment, load_suite(suite).experiment
    found = differences(settings(plain), settings(changed))
    idle = [line for line in found if not line.startswith("evaluation")]
    if idle:
        raise OptionError(f"-s: {idle[0]} has no effect; allowed with --suite: settings of its Evaluation and attacks")
    return changed.evaluation


def _refuse_missing(folder: RunFolder, which: str) -> None:
    """Refuse a checkpoint that is not there, and name the one that is."""
    there = [name for name, file in (("best", folder.best), ("last", folder.last)) if file.is_file()]
    allowed = f"--checkpoint {there[0]}" if there else "a run folder that still holds its checkpoints"
    raise CheckpointError(f"{folder.path}/checkpoints/{which}.pt: no such checkpoint; allowed: {allowed}")


def _refuse_other_epoch(folder: RunFolder, stored: Mapping[str, State], identity: Mapping[str, str]) -> None:
    """Refuse a best.pt that is of another epoch than last.pt, where that is there, says was the best.

    One that is of a later epoch than last.pt was written just now: last.pt is written behind it.
    """
    if "best" not in stored or not folder.last.is_file():
        return
    last = stored["last"] if "last" in stored else _last(folder, identity, "cpu")[0].training
    found, (epoch, _) = stored["best"]["position"], last["position"]
    if last["best"] is not None and found[0] <= epoch and list(found) != [last["best"][0], 0]:
        raise CheckpointError(
            f"{folder.best}: got the state after epoch {found[0]}, allowed: that after epoch {last['best'][0]}, which "
            f"{folder.last} says was the best"
        )


def _last(
    folder: RunFolder, identity: Mapping[str, str], device: torch.device | str
) -> tuple[checkpoint.Checkpoint, Path]:
    """The latest whole checkpoint, which must be of this experiment, and its file."""
    found, file = checkpoint.read_last(folder, device)
    checkpoint.refuse_other_experiment(found, identity, file)
    return found, file


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
