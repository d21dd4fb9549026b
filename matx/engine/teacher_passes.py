"""What the training of frozen teachers took, from the checkpoints that their weights are of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from matx.craft import Passes
from matx.experiment import Experiment
from matx.learner import weights_file

__all__ = ["teacher_passes"]


def teacher_passes(experiment: Experiment) -> Passes | None:
    """The passes of the runs that trained the frozen peers and, in turn, their teachers; each run of them counts once.

    None: some weights do not say what their training took.
    """
    total = Passes()
    for file in dict.fromkeys(_files(experiment)):
        stored = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        training = stored.get("training") if isinstance(stored, dict) else None
        if not isinstance(training, dict):
            return None
        with_teachers = any(text == "True" for path, text in stored["identity"].items() if path.endswith(".frozen"))
        before = training.get("teacher_passes", None if with_teachers else vars(Passes()))
        if before is None:
            return None
        for name in vars(total):
            setattr(total, name, getattr(total, name) + training["passes"][name] + before[name])
    return total


def _files(experiment: Experiment) -> Iterator[Path]:
    """The checkpoints of the frozen peers; of a run folder its last one, which knows the whole training."""
    for name, peer in experiment.peers.items():
        if peer.frozen and peer.weights is not None:
            file, _ = weights_file(peer.weights, name)
            last = file.with_name("last.pt")
            yield last if file.name == "best.pt" and last.is_file() else file
