"""One step of every registered strategy, on processes and by plain averaging of what each shard gives by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import matx
from matx.data import batches, order
from matx.distributed import World, gather
from matx.engine import Training, start, step
from matx.engine.compose import groups
from matx.engine.sharding import Shard, shards
from matx.testing.live import experiment_of

BATCH = 7
ORDERS = ("simultaneous", "alternating")
Change = dict[str, Tensor]
"""{parameter: gradient, or buffer: value} of a peer, when it steps."""


def cases(every_example: bool) -> Iterator[tuple[str, Any, Any]]:
    """(what, strategy, peers): the first or every example of every registered strategy, on peers that it admits."""
    for name in sorted(matx.strategies):
        with tempfile.TemporaryDirectory() as folder:
            examples = matx.strategies[name].examples(Path(folder))
            for number, strategy in enumerate(examples if every_example else examples[:1]):
                yield f"{name}[{number}]", strategy, next(iter(strategy.example_peers()))


def compared(world: World, every_example: bool = False) -> dict[str, float]:
    """{strategy and update order: the largest difference of a gradient or statistic, relative to the largest}."""
    found = {}
    for what, strategy, peers in cases(every_example):
        for update_order in ORDERS:
            with tempfile.TemporaryDirectory() as folder:
                declared = experiment_of(strategy, peers, Path(folder), update_order=update_order, batch_size=BATCH)
                data = declared.dataset()
                shared = start(declared, data, world=world)
                own = _step(shared, next(shards(world, _rows(shared), BATCH)), {})
                found[f"{what} {update_order}"] = _apart(own, _plainly(partial(start, declared, data), world))
    return found


def _rows(training: Training) -> Tensor:
    return order(len(training.data.train.labels), seed=0, epoch=0)[:BATCH]


def _plainly(fresh: Callable[[], Training], world: World) -> dict[str, Change]:
    """What every peer steps with, where it is the average over the shards, each computed by one process by itself.

    In alternating order a later peer sees those that have stepped, so its shards are computed again once the averages
    of the earlier ones are known; where all step at once, there is nothing to see.
    """
    known: dict[str, Change] = {}
    single = fresh()
    stages = groups(single.needs) if single.experiment.update_order == "alternating" else [tuple(single.needs.train)]
    for group in stages:
        single = single if not known else fresh()
        shard = next(shards(world, _rows(single), BATCH))
        change = _step(single, Shard(shard.rows, 1.0, len(shard.rows)), known)
        parts = gather(world, (shard.share, {name: change[name] for name in group}))
        for name in group:
            known[name] = {
                key: torch.stack([share * one[name][key] for share, one in parts]).sum(0) for key in change[name]
            }
    return known


def _step(training: Training, shard: Shard, known: dict[str, Change]) -> dict[str, Change]:
    """Take a step, in which peers that are known already step with that; what each peer stepped with."""
    found: dict[str, Change] = {}
    for name, learner in training.learners.items():
        if learner.optimizer is None:
            continue

        def hook(*_: Any, name: str = name, module: Any = learner.module) -> None:
            now = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
            now |= {key: value for key, value in module.named_buffers() if "running" in key}
            for key, value in known.get(name, {}).items():
                now[key].copy_(value)
            found[name] = {key: value.detach().clone() for key, value in now.items()}

        learner.optimizer.register_step_pre_hook(hook)
    (batch,) = batches(training.data.train, shard.rows, len(shard.rows))
    step(training, batch, share=shard.share, images=shard.images)
    return found


def _apart(first: dict[str, Change], second: dict[str, Change]) -> float:
    assert first.keys() == second.keys(), f"{list(first)} stepped, and plainly {list(second)}"
    worst = 0.0
    for name, change in first.items():
        assert change.keys() == second[name].keys(), f"{name}: other gradients than plainly"
        for key, value in change.items():
            scale = max(float(torch.stack([v.abs().max() for v in second[name].values()]).max()), 1e-12)
            worst = max(worst, float((value - second[name][key]).abs().max()) / scale)
    return worst
