"""What a training will cost: passes and operations, counted in real steps and exact; time and memory, estimated."""

from __future__ import annotations

import math
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from matx.craft import Passes
from matx.data import Batch, batches, order
from matx.engine import PHASES, Position, StepRecord, Training, step
from matx.engine.validation import validate

__all__ = ["Cost", "Estimate", "Flops", "counted", "estimate"]

_WARM_UP = 2
"""Steps before the timed ones, beside the one whose operations are counted."""
_STEPS = range(3, 10)
"""How many steps are timed at least and at most; between them as many as _SECONDS hold."""
_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What something costs: images through networks, floating point operations, wall-clock seconds."""

    forward: int = 0
    backward_input: int = 0
    backward_weights: int = 0
    flops: int = 0
    """Of convolutions and matrix products, a multiplication and an addition each."""
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    @property
    def passes(self) -> int:
        """Forwards and backwards; one to the weights costs two."""
        return self.forward + self.backward_input + 2 * self.backward_weights


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The whole training: {phase: cost}, those of PHASES, and what is not part of a step."""

    phases: Mapping[str, Cost]
    images: int
    """Training images of all epochs."""
    steps: int
    validation_seconds: float
    """Of all validations together, by the network as it starts: attacks that stop early take longer on a robust one."""
    memory: int
    """The peak of this process (on CUDA: of the device's memory), in bytes."""
    varies: bool
    """True: the passes of a step depend on what is drawn or found in it, and are means of those that were seen."""
    record: StepRecord
    """What the first step showed."""

    @property
    def total(self) -> Cost:
        """Of all steps."""
        return sum(self.phases.values(), Cost())

    @property
    def seconds(self) -> float:
        """Of the training: its steps and validations."""
        return self.total.seconds + self.validation_seconds

    @property
    def images_per_second(self) -> float:
        """Training images, validations left out."""
        return self.images / self.total.seconds


class Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of convolutions and matrix products (FlopCounterMode's module tracker refuses attacks)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=found)
        return found


@dataclass(eq=False)
class _Meter:
    """Measures the phases of the steps of a training, on whose `phase` it is put."""

    training: Training
    flops: bool
    costs: dict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        before, began = astuple(self.training.passes), _now(self.training)
        counter = Flops() if self.flops else None
        with counter or nullcontext():
            yield
        passes = Passes(*(after - then for after, then in zip(astuple(self.training.passes), before, strict=True)))
        flops = 0 if counter is None else counter.total
        self.costs[phase] += Cost(**vars(passes), flops=flops, seconds=_now(self.training) - began)


@contextmanager
def counted(training: Training, *, flops: bool = True) -> Iterator[Mapping[str, Cost]]:
    """{phase: cost} of all steps that are taken inside.

    Where operations are counted, copies run as they are, since those of compiled code cannot be seen: more slowly.
    """
    meter = _Meter(training, flops)
    training.phase, before = meter, training.phase
    compiled = {name: copy.compiled for name, copy in training.copies.items()}
    if flops:
        for copy in training.copies.values():
            copy.compiled = None
    try:
        yield meter.costs
    finally:
        training.phase = before
        for name, copy in training.copies.items():
            copy.compiled = compiled[name]


def estimate(training: Training) -> Estimate:
    """Take some steps from the start, and from each later epoch in which a step begins to cost something else.

    The training is worth nothing afterwards. Its validation split is read, its test split is not.
    """
    images_per_epoch = min(len(training.data.train.labels), training.steps_per_epoch * training.experiment.batch_size)
    begins = _stages(training)
    phases: dict[str, Cost] = defaultdict(Cost)
    record, varies = None, False
    for first, after in zip(begins, (*begins[1:], training.experiment.epochs), strict=True):
        seen = _measured(training, first)
        varies |= seen.varies
        record = record or seen.record
        for phase, cost in seen.phases.items():
            phases[phase] += _scaled(
                cost,
                images=((after - first) * images_per_epoch, seen.images),
                steps=((after - first) * training.steps_per_epoch, 1),
            )
    assert record is not None, "there is a stage from the first epoch on"
    return Estimate(
        phases={phase: phases[phase] for phase in PHASES},
        images=training.experiment.epochs * images_per_epoch,
        steps=training.experiment.epochs * training.steps_per_epoch,
        validation_seconds=_validation_seconds(training),
        memory=_peak_memory(training.device),
        varies=varies,
        record=record,
    )


def _stages(training: Training) -> tuple[int, ...]:
    """The first epoch, and those from which on a step costs something else: where weights begin to be perturbed."""
    begins = {
        math.ceil(peer.weight_perturbation_from)
        for peer in training.experiment.peers.values()
        if peer.weight_perturbation > 0
    }
    return tuple(sorted({0} | {epoch for epoch in begins if epoch < training.experiment.epochs}))


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """The steps of one stage: {phase: passes and operations of `images` images, and the seconds of one step}."""

    phases: Mapping[str, Cost]
    images: int
    varies: bool
    record: StepRecord


def _measured(training: Training, epoch: int) -> _Seen:
    """Count the operations of one step, warm up, and time further ones; passes are those of all of them."""
    taken = _batches(training, epoch)
    with counted(training) as first:
        record = _step(training, taken, epoch)
    steps, images = [first], record.images
    timed: list[Mapping[str, Cost]] = []
    began = time.perf_counter()
    while len(timed) < _STEPS.start or (len(timed) < _STEPS.stop and time.perf_counter() - began < _SECONDS):
        with counted(training, flops=False) as costs:
            images += _step(training, taken, epoch).images
        steps.append(costs)
        timed = steps[1 + _WARM_UP :]
    phases = {}
    for phase in PHASES:
        whole = sum((costs[phase] for costs in steps), Cost())
        share = whole.passes / max(1, first[phase].passes)  # exactly the number of steps, unless these vary
        seconds = statistics.median(costs[phase].seconds for costs in timed)
        phases[phase] = replace(whole, flops=round(first[phase].flops * share), seconds=seconds)
    varies = any(costs[phase].passes != first[phase].passes for costs in steps for phase in PHASES)
    return _Seen(phases=phases, images=images, varies=varies, record=record)


def _step(training: Training, taken: Iterator[Batch], epoch: int) -> StepRecord:
    """One more step in an epoch that never ends; reading its batch is part of its phase `data`."""
    training.position = Position(epoch, training.position.step % training.steps_per_epoch)
    with training.phase("data"):
        batch = next(taken)
    return step(training, batch)


def _batches(training: Training, epoch: int) -> Iterator[Batch]:
    """Full batches of an epoch (or as large as there are images), over and over."""
    rows = order(len(training.data.train.labels), seed=training.experiment.seed, epoch=epoch)
    size = min(training.experiment.batch_size, len(rows))
    while True:
        yield from batches(training.data.train, rows, size, device=training.device, drop_last=True)


def _scaled(cost: Cost, *, images: tuple[int, int], steps: tuple[int, int]) -> Cost:
    """Counts by images, rounded where the images do not divide; seconds by steps."""
    more, counts = images[0], {name: value for name, value in vars(cost).items() if name != "seconds"}
    return Cost(
        **{name: round(value * more / images[1]) for name, value in counts.items()},
        seconds=cost.seconds * steps[0] / steps[1],
    )


def _validation_seconds(training: Training) -> float:
    """All validations of the run, by the time of one on a batch of images."""
    experiment, split = training.experiment, training.data.val
    assert split is not None, "carve gives every run a validation split"
    whole = min(len(split.labels), experiment.evaluation.validation_images)
    some = min(whole, experiment.batch_size)
    evaluation = replace(experiment.evaluation, validation_images=some)
    short = replace(training, experiment=replace(experiment, evaluation=evaluation))
    began = _now(training)
    validate(short)
    spent = _now(training) - began
    epochs = range(1, experiment.epochs + 1)
    return spent * whole / some * sum(experiment.evaluation.due(epoch, experiment.epochs) for epoch in epochs)


def _now(training: Training) -> float:
    """Wall-clock seconds, when the device has done what it was asked."""
    if training.device.type == "cuda":
        torch.cuda.synchronize(training.device)
    return time.perf_counter()


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
