"""What a worker does: train one configuration and report its values after each validated epoch."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matx.errors import LostProcessError, OptionError, did_you_mean

if TYPE_CHECKING:
    from matx.distributed import World
    from matx.experiment import Experiment

__all__ = ["Task", "bindings_for", "check_objectives", "shortened", "train"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One training: what, how long, on which seed, and where its metrics are written."""

    recipe: str
    bindings: tuple[str, ...]
    folder: str
    objectives: tuple[str, ...]
    device: str
    seed: int | None = None
    epochs: int | None = None
    every: int | None = None
    train_limit: int | None = None
    plugins: tuple[str, ...] = ()
    """Those that the user has named, and those that the recipe needs, which opening the study has loaded."""
    processes: int = 1
    """So many train it together: this one, and others that it starts; on GPUs, one each from that of `device` on."""


def bindings_for(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Drawn values as overrides, `NAME=VALUE`."""
    return tuple(f"{name}={value!r}" for name, value in params.items())


def shortened(experiment: Experiment, task: Task) -> Experiment:
    """The experiment as a trial trains it."""
    changes: dict[str, Any] = {}
    for name in ("seed", "epochs", "train_limit"):
        if getattr(task, name) is not None:
            changes[name] = getattr(task, name)
    if task.every is not None:
        changes["evaluation"] = replace(experiment.evaluation, every=task.every)
    return replace(experiment, **changes)


def train(task: Task, report: Callable[[Any], Any]) -> dict[str, Any]:
    """Train, reporting {epoch, values} after each validated epoch, until the end or until the reply is False.

    The values are those of the run's one best epoch, or of the last one where it was stopped. The test split is not
    opened.
    """
    from matx.distributed import followed

    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with followed(task.processes, task.device, _follow, task) as world:
            return _logged(task, report, world)
    except LostProcessError as error:
        raise SystemExit(1) from error  # as if this process itself had crashed: the trial is tried again


def _follow(world: World, task: Task) -> None:
    """What another process than rank 0 does; whether the trial goes on is told by rank 0."""
    _logged(task, lambda _: True, world)


def _logged(task: Task, report: Callable[[Any], Any], world: World) -> dict[str, Any]:
    from matx.runtime.log import logged_to

    folder = Path(task.folder)
    with logged_to(folder / (f"log-rank{world.rank}.txt" if world.rank else "log.txt")):
        return _train(task, report, world)


def _train(task: Task, report: Callable[[Any], Any], world: World) -> dict[str, Any]:
    """The same steps in every process; rank 0 writes, reports, and says whether the trial goes on."""
    import torch

    from matx.config import load_experiment
    from matx.distributed import broadcast
    from matx.engine import EpochRecord, fit, start
    from matx.plugins import load_plugin
    from matx.runtime.environment import find_device
    from matx.runtime.journal import as_line, epoch_row

    torch.set_num_threads(1)
    for plugin in task.plugins:
        load_plugin(plugin)
    experiment = shortened(load_experiment([task.recipe], task.bindings).experiment, task)
    began = time.monotonic()
    training = start(experiment, _data(experiment), device=find_device(_device(task, world)), world=world)
    values: tuple[float, ...] = ()
    epoch, stopped = 0, False
    metrics = (Path(task.folder) / "metrics.jsonl") if world.writes else Path(os.devnull)
    with metrics.open("w", encoding="utf-8") as written:
        for record in fit(training):
            if not isinstance(record, EpochRecord):
                continue
            epoch = record.epoch
            written.write(as_line(epoch_row(record)))
            written.flush()
            if record.validation is None:
                continue
            now = tuple(_value(record, objective, experiment.scored) for objective in task.objectives)
            finite = all(map(math.isfinite, now))
            values = now if record.best or not values or not finite else values
            goes_on = report({"epoch": epoch, "values": now}) if world.writes else None
            if not broadcast(world, goes_on) or not finite:
                values, stopped = now, True
                break
    return {"values": values, "epochs": epoch, "stopped": stopped, "seconds": time.monotonic() - began}


def _device(task: Task, world: World) -> str:
    """The device of this process: of several, each has the GPU that many places after the trial's first."""
    kind, _, first = task.device.partition(":")
    return f"{kind}:{int(first) + world.rank}" if first else task.device


def check_objectives(experiment: Experiment) -> None:
    """Refuse an objective that no epoch of the experiment would have."""
    trained = [name for name, peer in experiment.peers.items() if not peer.frozen]
    keys = [attack.threat.key for attack in experiment.evaluation.validation_attacks]
    known = list(dict.fromkeys(["union", "clean", *keys, "loss"]))
    for objective in experiment.tune.objectives:
        peer, _, metric = objective.rpartition("/")
        for got, allowed in ((metric, known), *([(peer, trained)] if peer else [])):
            if got not in allowed:
                raise OptionError(
                    f"Tune.objectives: got {objective!r}, allowed: METRIC or PEER/METRIC with the metrics "
                    f"{', '.join(known)} and the peers {', '.join(trained)}{did_you_mean(got, allowed)}"
                )


_DATA: dict[str, Any] = {}


def _data(experiment: Experiment) -> Any:
    """The data of an experiment, read once for all trials of a worker."""
    from matx.experiment import data_of

    key = repr(experiment.dataset)
    if key not in _DATA:
        _DATA.clear()
        _DATA[key] = data_of(experiment)
    return _DATA[key]


def _value(record: Any, objective: str, scored: Sequence[str]) -> float:
    """One objective of an epoch: of the peer named, else the mean over the scored peers."""
    peer, _, metric = objective.rpartition("/")
    peers = [peer] if peer else list(scored)
    return sum(_of_peer(record, name, metric) for name in peers) / len(peers)


def _of_peer(record: Any, peer: str, metric: str) -> float:
    if metric == "loss":
        return float(record.train[peer]["loss"])
    return float(record.validation[peer][metric].accuracy)
