"""Whether two processes of one thread would take a step sooner than this one with all its threads."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from itertools import islice

from matx.data import batches, order
from matx.engine import Position, Training, step
from matx.engine.places import check_processes
from matx.errors import OptionError
from matx.runtime.environment import threads_kept
from matx.runtime.workers import usable_cores

__all__ = ["seconds_in_two"]

_STEPS = 4
"""The first is not counted."""


def seconds_in_two(training: Training) -> float | None:
    """An estimate of a step's seconds in two processes: half of a batch in this one, with one thread.

    What crosses between the two is not in it. None: not on this device, on one core, or with batches that cannot be
    shared. The training goes on from where it is with other weights.
    """
    experiment = training.experiment
    if training.device.type != "cpu" or usable_cores() < 2:
        return None
    try:
        check_processes(replace(experiment, placement="samples", shards=1), 2)
    except OptionError:
        return None
    rows = order(len(training.data.train.labels), seed=experiment.seed, epoch=0)
    halves = batches(training.data.train, rows, experiment.batch_size // 2, device=training.device, drop_last=True)
    taken = []
    with threads_kept(1):
        for batch in islice(halves, _STEPS):
            training.position = Position()
            began = time.perf_counter()
            step(training, batch)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:]) if len(taken) > 1 else None
