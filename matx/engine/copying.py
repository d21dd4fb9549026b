"""The copies of peers that attacks search on."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch

from matx.copies import CraftingCopy, crafting_copy
from matx.data import Split, batches
from matx.exchange import Needs
from matx.experiment import Experiment
from matx.learner import Learner, precision_type

__all__ = ["crafting_copies"]

log = logging.getLogger("matx")


def crafting_copies(
    experiment: Experiment,
    needs: Needs,
    split: Split,
    learners: Mapping[str, Learner],
    *,
    precision: str,
    device: torch.device,
) -> dict[str, CraftingCopy]:
    """The copies of the peers that attacks search on, and of those that a strategy's objectives call."""
    peers = experiment.peers
    called = [name for name, peer in peers.items() if peer.attacks]
    called += [other for others in needs.craft.values() for other in others]
    few = torch.arange(min(8, len(split.labels)))
    (probe,) = batches(split, few, len(few), device=device)
    dtype = precision_type(precision)
    copies = {
        name: crafting_copy(learners[name].module, probe.images, dtype)
        for name in dict.fromkeys(called)
        if peers[name].frozen or peers[name].attack_mode == "eval"
    }
    found = {name: copy for name, copy in copies.items() if copy is not None}
    wanted = experiment.compile
    if found and (wanted == "on" or (wanted == "auto" and device.type == "cuda")):
        log.info("the first step compiles what attacks search on and may take minutes (not with compile = 'off')")
        for copy in found.values():
            copy.compile(experiment.batch_size)
    return found
