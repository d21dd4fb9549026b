"""The metrics of an evaluation, batch by batch: each gives its columns, and from all of them its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from matx.copies import crafting_copy
from matx.craft import attackable
from matx.data import Batch, Split, batches
from matx.distributed import SINGLE, World, gather, in_order
from matx.interfaces import CraftingModel, Figure, Findings, Metric, Model, copied, default_type_kept, refuse_writes
from matx.measure.answers import known_classes, plain_fp32
from matx.measure.columns import Columns, checked_columns, checked_figures, joined
from matx.measure.rates import Flags
from matx.measure.records import MeasuredColumns, Records
from matx.measure.searching import Searching, Told, find
from matx.measure.settings import EvaluationSettings, metric_name
from matx.measure.threats import by_threat
from matx.measure.transferring import crafted_on
from matx.threat import ThreatModel

__all__ = ["Measured", "MeasuredBatch", "flags_of", "measure"]

Visited = TypeVar("Visited")


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """All samples of an evaluation: what each metric measured, and which samples are robust."""

    columns: Mapping[str, Columns]
    """{metric: {column: one value a sample}}, in the order of the settings."""
    figures: Mapping[str, Sequence[Figure]]
    """{metric: its figures}."""
    flags: Mapping[str, Flags]
    """{model: which samples are robust}, of the models whose attacks some metric asked for."""
    seconds: Mapping[str, Mapping[str, float]]
    """{model: {'clean' or threat key: what it cost}}."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredBatch:
    """The `MetricSettings` of one batch: each attack runs once a model, whichever metrics ask for it."""

    settings: EvaluationSettings
    models: Mapping[str, Model]
    light: Mapping[str, Model]
    classes: Mapping[str, int]
    batch: Batch
    rows: Tensor
    number: int
    records: Records | None
    told: Told | None
    seconds: Mapping[str, dict[str, float]]
    found: dict[str, Findings] = field(default_factory=dict)
    crafted: dict[str, Mapping[ThreatModel, Tensor]] = field(default_factory=dict)

    @property
    def threats(self) -> tuple[ThreatModel, ...]:
        """The reported threat models."""
        return tuple(by_threat(self.settings.attacks))

    @property
    def grid(self) -> tuple[ThreatModel, ...]:
        """Further radii."""
        return tuple(by_threat(self.settings.grid))

    @property
    def union_only(self) -> bool:
        """True: samples broken under one threat model are not attacked under the next."""
        return self.settings.union_only

    @property
    def batch_size(self) -> int:
        """How many images a forward may take."""
        return self.settings.batch_size

    @property
    def seed(self) -> int:
        """Of the draws."""
        return self.settings.draws

    def search(self, model: str) -> None:
        """Run the attacks on a model, unless they have run."""
        if model not in self.found:
            task = Searching(
                name=model,
                model=self.models[model],
                light=self.light[model],
                classes=self.classes[model],
                batch=self.batch,
                rows=self.rows,
                number=self.number,
                settings=self.settings,
                records=self.records,
                told=self.told,
                seconds=self.seconds[model],
            )
            self.found[model] = find(task)

    def findings(self, model: str) -> Findings:
        """What the attacks find on this batch against a model."""
        self.search(model)
        return copied(self.found[model])

    def transferred(self, source: str) -> Mapping[ThreatModel, Tensor]:
        """Examples crafted on a source, one set a reported threat model."""
        if source not in self.crafted:
            self.crafted[source] = {
                threat: crafted_on(source, self.models[source], attacks[0], self.batch, self.seed)
                for threat, attacks in by_threat(self.settings.attacks).items()
            }
        return copied(self.crafted[source])


def measure(
    models: Mapping[str, nn.Module],
    split: Split,
    settings: EvaluationSettings,
    *,
    device: torch.device | str = "cpu",
    records: Records | None = None,
    told: Told | None = None,
    world: World = SINGLE,
) -> Measured:
    """The columns and figures of every metric on the first images of a split, in fp32 and eval mode.

    Models take images in [0,1] and are left bit for bit as they were. Draws are keyed by seed, threat model and the
    sample's index in the dataset, the same for every model: batch size changes nothing, comparisons are paired. An
    attack made of searches is run as these, one after the other on the samples that are still robust. `records`: what
    is there is not measured again, the rest is kept as it ends. Of several processes each takes whole batches; all end
    with the same.
    """

    def visit(part: MeasuredBatch) -> dict[str, Columns]:
        return {metric_name(metric): _columns(metric, part) for metric in settings.metrics}

    parts, flags, seconds = _over_batches(
        models, split, settings, torch.device(device), visit, records=records, told=told, world=world
    )
    whole = {name: joined(name, [part[name] for part in parts]) for name in map(metric_name, settings.metrics)}
    figures = {metric_name(m): checked_figures(m, whole[metric_name(m)]) for m in settings.metrics}
    return Measured(columns=whole, figures=figures, flags=flags, seconds=seconds)


def flags_of(
    models: Mapping[str, nn.Module],
    split: Split,
    settings: EvaluationSettings,
    *,
    device: torch.device | str = "cpu",
    world: World = SINGLE,
) -> dict[str, Flags]:
    """{model: which samples are robust under the settings' attacks}, without metrics."""

    def visit(part: MeasuredBatch) -> None:
        for name in models:
            part.search(name)

    return _over_batches(models, split, settings, torch.device(device), visit, world=world)[1]


def _over_batches(
    models: Mapping[str, nn.Module],
    split: Split,
    settings: EvaluationSettings,
    device: torch.device,
    visit: Callable[[MeasuredBatch], Visited],
    *,
    records: Records | None = None,
    told: Told | None = None,
    world: World = SINGLE,
) -> tuple[list[Visited], dict[str, Flags], dict[str, dict[str, float]]]:
    """(what `visit` gives for every batch in order, flags of the models whose attacks it has run, seconds of all)."""
    seconds: dict[str, dict[str, float]] = {name: {} for name in models}
    own: dict[int, tuple[Visited, dict[str, Findings]]] = {}
    with _live(models, split, settings, device) as (live, light, classes):
        for number, rows, batch in _batches(split, settings, device, world):
            part = MeasuredBatch(
                settings=settings, models=live, light=light, classes=classes, batch=batch, rows=rows, number=number,
                records=records, told=told, seconds=seconds,
            )  # fmt: skip
            visited = visit(part)
            own[number] = visited, {name: replace(found, searches=()) for name, found in part.found.items()}
    every = in_order(world, own)
    found = {name: [findings[name] for _, findings in every if name in findings] for name in models}
    flags = {name: _flags(parts) for name, parts in found.items() if parts}
    return [visited for visited, _ in every], flags, _added(gather(world, seconds))


def _added(parts: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The seconds of all processes together."""
    return {
        name: {key: sum(part[name].get(key, 0.0) for part in parts) for key in {k: 0 for p in parts for k in p[name]}}
        for name in parts[0]
    }


def _batches(
    split: Split, settings: EvaluationSettings, device: torch.device, world: World
) -> Iterator[tuple[int, Tensor, Batch]]:
    """(number, places in the split, batch) of those that this process takes."""
    parts = torch.split(torch.arange(settings.count(split)), settings.batch_size)
    for number in world.mine(len(parts)):
        (batch,) = batches(split, parts[number], len(parts[number]), device=device)
        yield number, parts[number], batch


@contextmanager
def _live(
    models: Mapping[str, nn.Module], split: Split, settings: EvaluationSettings, device: torch.device
) -> Iterator[tuple[dict[str, Model], dict[str, Model], dict[str, int]]]:
    """The models as they are measured, their lighter copies for attacks, and how many classes each knows."""
    few = torch.arange(min(8, len(split.labels)))
    (probe,) = batches(split, few, len(few), device=device)
    with ExitStack() as stack, plain_fp32(device):
        live = {name: stack.enter_context(attackable(module, mode="eval")) for name, module in models.items()}
        light = {name: crafting_copy(module, probe.images) for name, module in models.items()}
        rows = torch.arange(settings.count(split))
        classes = {name: known_classes(name, model, split, rows, device) for name, model in live.items()}
        yield live, {name: _searched(live[name], light[name]) for name in models}, classes


def _searched(model: Model, copy: Model | None) -> Model:
    """What attacks are given: the copy, with the model to judge by."""
    return model if copy is None else CraftingModel(copy, model)


def _columns(metric: Metric, part: MeasuredBatch) -> Columns:
    """What a metric measures on a batch: read where it was kept, else measured and kept."""
    where = f"{metric_name(metric)}/{part.number:05}"
    kept = None if part.records is None else part.records.read_columns(where, part.rows)
    if kept is not None:
        for model in kept.attacked:
            part.search(model)
        return kept.columns
    seen = copied(part.batch)
    with default_type_kept(metric):
        measured = metric.measure(part.models, seen, part)
    refuse_writes(metric, seen, part.batch)
    found = checked_columns(metric_name(metric), measured, len(part.rows))
    if part.records is not None:
        part.records.write_columns(where, MeasuredColumns(rows=part.rows, columns=found, attacked=tuple(part.found)))
    return found


def _flags(parts: Sequence[Findings]) -> Flags:
    threats = parts[0].robust
    return Flags(
        clean=torch.cat([part.clean for part in parts]),
        threats={threat.key: torch.cat([part.robust[threat] for part in parts]) for threat in threats},
    )
