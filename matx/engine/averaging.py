"""Weights that are averages: uniform ones over epochs (SWA), mixes of peers, and their BatchNorm statistics."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from matx.data import batches, stratified
from matx.engine.training import Training
from matx.experiment import Peer
from matx.learner import forward

__all__ = ["average_weights"]


def average_weights(training: Training, done: int) -> None:
    """After so many epochs: mixes that are due, uniform averages, and the statistics of both."""
    learners = training.learners
    due = {name: mix.members for name, mix in training.needs.mix.items() if done % mix.every == 0}
    mixed = {name: _mixture({learners[m].module: share for m, share in due[name].items()}) for name in due}
    for name, weights in mixed.items():
        learners[name].module.load_state_dict(weights)
        _refresh(training, name, learners[name].module, mixes=True)
    for name, learner in learners.items():
        if not training.places.owns(name):
            continue
        learner.average_epoch(done, training.experiment.epochs)
        if learner.ema_module is not None:
            _refresh(training, name, learner.ema_module, mixes=False)


@torch.no_grad()
def _mixture(shares: dict[nn.Module, float]) -> dict[str, torch.Tensor]:
    """sum_m share_m w_m of floating weights and statistics; counters are the first member's."""
    first, *others = ((module.state_dict(), share) for module, share in shares.items())
    found = {key: value * first[1] if value.is_floating_point() else value.clone() for key, value in first[0].items()}
    for state, share in others:
        for key, value in state.items():
            if value.is_floating_point():
                found[key].add_(value, alpha=share)
    return found


def _count(peer: Peer, *, mixes: bool, images: int) -> int:
    """How many images the statistics are measured on."""
    if peer.refresh is None:
        return images if mixes or peer.swa_from is not None else 0
    return min(images, peer.refresh)


@torch.no_grad()
def _refresh(training: Training, name: str, module: nn.Module, *, mixes: bool) -> None:
    """Measure BatchNorm's statistics anew: the mean over full batches of clean training images, all else in eval."""
    split, size = training.data.train, training.experiment.batch_size
    count = _count(training.experiment.peers[name], mixes=mixes, images=len(split.labels))
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if count < 2 or not layers:
        return
    momenta = [layer.momentum for layer in layers]
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for a plain mean over batches
        layer.train()
    rows = stratified(split, "refresh")[:count]
    for batch in batches(split, rows, min(size, count), device=training.device, drop_last=True):
        training.passes.forward += (
            len(batch.labels) if training.places.shards.rank == 0 else 0
        )  # the same in every process
        forward(module, batch.images, training.learners[name].dtype)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    for part, mode in modes:
        part.training = mode
