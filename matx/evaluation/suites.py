"""Suites of attacks and lists of metrics that are packaged as gin files, and the settings made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matx.config import Loaded, load_experiment
from matx.config.recipes import packaged_recipes
from matx.errors import OptionError, did_you_mean
from matx.evaluation.target import Target
from matx.experiment import Evaluation
from matx.interfaces import Metric
from matx.measure import EvaluationSettings, aimed, by_threat
from matx.options import parameters
from matx.registration import REGISTRIES
from matx.threat import ThreatModel

__all__ = ["Asked", "load_suite", "named_metrics", "packaged_metrics", "settings_of"]

_SUITES = "suites"
"""The folder of packaged recipes whose Evaluation is a suite."""
_METRICS = "metrics"
"""The folder of packaged recipes that say what is measured by default, and with which options by name."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What somebody asks for beside what the experiment or suite declares."""

    images: int | None = None
    """At most so many; None: as the evaluation says."""
    seed: int | None = None
    """Of the evaluation's draws; None: the experiment's."""
    threats: Sequence[ThreatModel] = ()
    """What the attacks are aimed at; empty: as they are configured."""
    grid: Sequence[ThreatModel] = ()
    """Further radii."""
    union_only: bool = False
    metrics: Sequence[Metric] = ()
    """What is measured where the evaluation names nothing."""
    further: Sequence[Metric] = ()
    """What is measured beside."""


def load_suite(name: str, bindings: Sequence[str] = ()) -> Loaded:
    """A suite by name ('pgd'), or a gin file with one; ConfigError as for any gin file."""
    packaged = [recipe.partition("/")[2] for recipe in packaged_recipes() if recipe.startswith(f"{_SUITES}/")]
    if name in packaged:
        return load_experiment([f"{_SUITES}/{name}"], bindings)
    if not Path(name).is_file() and not Path(f"{name}.gin").is_file():
        raise OptionError(
            f"--suite: got {name!r}, allowed: {', '.join(packaged)}, or a gin file{did_you_mean(name, packaged)}"
        )
    return load_experiment([name], bindings, own=True)


def packaged_metrics(purpose: str) -> tuple[Metric, ...]:
    """What is measured for a purpose (`run`, `eval`, `transfer`), from the packaged recipe of that name."""
    return tuple(load_experiment([f"{_METRICS}/{purpose}"]).experiment.evaluation.metrics)


def named_metrics(name: str) -> tuple[Metric, ...]:
    """A registered metric, as the packaged recipe of its name declares it or with its defaults; or a gin file's."""
    if name.endswith(".gin"):
        return tuple(load_experiment([name], own=True).experiment.evaluation.metrics)
    component = REGISTRIES["metrics"][name]
    packaged = packaged_metrics(name) if f"{_METRICS}/{name}" in packaged_recipes() else ()
    found = tuple(metric for metric in packaged if type(metric) is component)
    required = [option.name for option in parameters(component).values() if option.required]
    if required and not found:
        raise OptionError(
            f"--metric {name}: got no {', '.join(required)}, allowed: a gin file that says metrics.{name}.{required[0]}"
        )
    return found or (component(),)


def settings_of(target: Target, asked: Asked) -> EvaluationSettings:
    """How a target is measured: as its evaluation declares it, but for what is asked."""
    evaluation: Evaluation = target.evaluation
    attacks = aimed(evaluation.attacks, asked.threats) if asked.threats else tuple(evaluation.attacks)
    reported = by_threat(attacks)
    metrics = list(evaluation.metrics or asked.metrics)
    metrics += [m for place, m in enumerate(asked.further) if m not in metrics and m not in asked.further[:place]]
    return EvaluationSettings(
        metrics=metrics,
        attacks=attacks,
        grid=aimed(attacks, [threat for threat in asked.grid if threat not in reported]),
        seed=target.seed if asked.seed is None else asked.seed,
        images=evaluation.images if asked.images is None else asked.images,
        batch_size=evaluation.batch_size,
        union_only=asked.union_only,
    )
