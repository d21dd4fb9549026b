"""A target under settings: what is measured with each set of weights, as results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matx.distributed import SINGLE, World
from matx.errors import OptionError, did_you_mean
from matx.evaluation.records import FolderRecords
from matx.evaluation.target import Target, WeightSet
from matx.interfaces import Attack
from matx.measure import EvaluationSettings, Measured, measure, metric_name
from matx.options import parameters
from matx.registration import REGISTRIES
from matx.results import AttackUsed, FlagColumn, MetricUsed, Results, Score
from matx.runtime.files import plain
from matx.runtime.progress import Bar, Display

__all__ = ["Evaluator", "flag_columns", "results_of"]


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Measures a target as settings say; what is measured of every batch is kept below `records`, if given."""

    target: Target
    settings: EvaluationSettings
    display: Display = field(default_factory=Display)
    records: Path | None = None
    world: World = SINGLE
    """The processes that share the batches; each keeps records of its own."""

    def records_of(self, which: WeightSet) -> FolderRecords | None:
        """Where the records of these weights are."""
        return None if self.records is None else FolderRecords(self.records / which.checkpoint / which.weights)

    def measure(self, which: WeightSet) -> Measured:
        """Everything with one set of weights."""
        models = self.target.models(which)
        images = self.settings.count(self.target.data.test)
        batches = len(self.world.mine(-(-images // self.settings.batch_size)))
        title = f"evaluating {which.checkpoint}{'' if which.weights == 'raw' else f' ({which.weights})'}, model"
        with self.display.bar(title, len(models)) as bar:
            return measure(
                models,
                self.target.data.test,
                self.settings,
                device=self.target.device,
                records=self.records_of(which),
                told=_Progress(bar, tuple(models), batches).tell,
                world=self.world,
            )

    def measured(self) -> dict[WeightSet, Measured]:
        """Everything with every set of weights."""
        return {which: self.measure(which) for which in self.target.states}


@dataclass(eq=False)
class _Progress:
    """Draws an evaluation on a bar of models; each batch counts its share of every model."""

    bar: Bar
    models: tuple[str, ...]
    batches: int
    done: float = 0.0
    shares: dict[str, float] = field(default_factory=dict)
    shown: int = 0

    def tell(self, model: str, what: str, share: float) -> None:
        """The share of a model's searches on a batch that is done."""
        self.done += (share - self.shares.get(model, 0.0)) / self.batches
        self.shares[model] = share if share < 1.0 else 0.0
        steps = int(20 * self.done / len(self.models) + 1e-9)
        self.bar(round(self.done, 2), f"{model} {what}", line=steps > self.shown)
        self.shown = steps


def results_of(
    target: Target, settings: EvaluationSettings, measured: Mapping[WeightSet, Measured], provenance: Mapping[str, Any]
) -> Results:
    """The results of everything that was measured; no score is sanity-checked yet."""
    models = {model for states in target.states.values() for model in states}
    for name in target.scored:
        if name not in models:
            raise OptionError(
                f"Evaluation.scored: got {name!r}, allowed: {', '.join(models)}{did_you_mean(name, models)}"
            )
    scores = [
        Score.of(figure, checkpoint=which.checkpoint, weights=which.weights, metric=metric)
        for which, one in measured.items()
        for metric, figures in one.figures.items()
        for figure in figures
    ]
    images = {
        "name": target.data.name,
        "split": "test",
        "n": settings.count(target.data.test),
        "fingerprint": target.data.test.fingerprint(),
    }
    reported = [(attack, True) for attack in settings.attacks] + [(attack, False) for attack in settings.grid]
    used = [
        MetricUsed(name=metric_name(metric), table=metric.table, options=_options(metric))
        for metric in settings.metrics
    ]
    return Results(
        experiment=target.name,
        scores=scores,
        dataset=images,
        scored=tuple(target.scored),
        epochs=dict(target.epochs),
        passes=dict(target.passes),
        teacher_passes=None if target.teacher_passes is None else dict(target.teacher_passes),
        best_by=target.best_by,
        label_noise=target.label_noise,
        attacks=[_attack(attack, reported=shown) for attack, shown in reported],
        metrics=used,
        seed=settings.seed,
        settings={"batch_size": settings.batch_size, "union_only": settings.union_only},
        provenance=dict(provenance),
    )


def flag_columns(measured: Mapping[WeightSet, Measured]) -> dict[FlagColumn, np.ndarray[Any, Any]]:
    """Every column of every metric, one value a sample."""
    return {
        FlagColumn(
            checkpoint=which.checkpoint, weights=which.weights, model=column.model, source=column.source,
            metric=metric, column=column.name,
        ): values.numpy()
        for which, one in measured.items()
        for metric, columns in one.columns.items()
        for column, values in columns.items()
    }  # fmt: skip


def _attack(attack: Attack, *, reported: bool) -> AttackUsed:
    options = {key: value for key, value in _options(attack).items() if key != "threat"}
    return AttackUsed(
        name=REGISTRIES["attacks"].label(attack),
        threat=attack.threat.key,
        options=options,
        changed=_changed(attack, options),
        reported=reported,
    )


def _options(component: object) -> dict[str, Any]:
    """Every option as a plain value; what is none as it prints."""
    if not is_dataclass(component):
        return {}
    values = {part.name: getattr(component, part.name) for part in fields(component) if part.repr}
    return {name: plain(value) if _is_plain(value) else repr(value) for name, value in values.items()}


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _changed(component: Any, options: Mapping[str, Any]) -> list[str]:
    """The options that differ from their defaults."""
    known = parameters(type(component)) if is_dataclass(component) else {}
    return [
        name
        for name in options
        if name in known and not known[name].required and known[name].default != getattr(component, name)
    ]
