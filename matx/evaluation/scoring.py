"""Scores of models on test images: of a run's checkpoints, or of anybody's weights. The test split is opened here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from matx.engine import Training
from matx.errors import CheckpointError
from matx.evaluation.evaluator import Judge, Scope, Scored, Subject
from matx.experiment import Experiment
from matx.report import Results, block, named, put_verdicts, results, write_flags
from matx.runtime import checkpoint
from matx.runtime.folder import RunFolder
from matx.runtime.progress import Display

__all__ = ["facts", "score", "score_run", "store_flags", "weights_of"]


def score(judge: Judge) -> tuple[Results, dict[str, Scored]]:
    """The results of every checkpoint of a subject, and what they count."""
    scored = {which: judge(which) for which in judge.subject.states}
    chosen = judge.scope.weights[0]
    first, last = _first(scored, chosen), scored.get(named("last", chosen))
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
    if chosen != "raw":
        found["weights"] = chosen
    for weights in judge.scope.weights[1:]:
        found[weights] = _averaged(_first(scored, weights), known["scored"])
        if "last" in found:
            found["last"][weights] = _averaged(scored[named("last", weights)], known["scored"])
    put_verdicts(found)
    return found, scored


def _first(scored: Mapping[str, Scored], weights: str) -> Scored:
    """Those of `best`, or of the one checkpoint that there is."""
    found = scored.get(named("best", weights)) or scored.get(named("last", weights))
    return next(iter(scored.values())) if found is None else found


def _averaged(one: Scored, scored: Sequence[str]) -> dict[str, Any]:
    """The block of averaged weights, beside that of the raw ones; `scored` peers without an average are left out."""
    return block(one.peers, [peer for peer in scored if peer in one.peers], one.grid)


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
        states=weights_of({which: stored[which] for which in sorted(stored)}, modules, ("raw",)),
        facts=facts(experiment, scope, stored["last"], tuple(modules)),
    )
    judge = Judge(subject, scope, display)
    found, scored = score(judge)
    store_flags(folder.flags, judge, scored)
    return found


def store_flags(path: Path, judge: Judge, scored: Mapping[str, Scored]) -> None:
    """Per-image flags; where best and last are one epoch, they stand under both names."""
    test, rows = judge.subject.data.test, torch.arange(judge.images)
    all_of_them = {which: one.peers for which, one in scored.items()}
    if judge.subject.facts["both"]:
        for weights in judge.scope.weights:
            for which in ("best", "last"):
                all_of_them.setdefault(named(which, weights), _first(scored, weights).peers)
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


def weights_of(
    stored: Mapping[str, Mapping[str, Any]], modules: Mapping[str, nn.Module], weights: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """{checkpoint as `named`: {peer: weights}} of {checkpoint: training state}, as copies where they are live.

    Of averages alone every peer must have one; beside the raw weights, at least one peer must.
    """
    found: dict[str, dict[str, Any]] = {}
    for which, state in stored.items():
        for kind in weights:
            part = "module" if kind == "raw" else kind
            having = [name for name in modules if part in state["learners"][name]]
            lacking = [name for name in modules if name not in having]
            if lacking and (len(weights) == 1 or not having):
                raise CheckpointError(
                    f"--ema: peer {lacking[0]!r} keeps no moving average; allowed: those with ema or swa_from"
                )
            found[named(which, kind)] = {name: _copied(state["learners"][name][part]) for name in having}
    return found


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in weights.items()}
