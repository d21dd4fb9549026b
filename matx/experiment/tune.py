"""The declared search: which settings are tuned, over which ranges, and what counts as better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin

from matx.effect import NO_EFFECT
from matx.errors import OptionError, did_you_mean
from matx.options import Range, alternatives, declare, declared_as, parameters, range_of

__all__ = ["Axis", "Tune"]

KINDS = ("float", "log", "int", "categorical")
Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One searched setting: its name as in `-s NAME=VALUE`, and its range."""

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    choices: tuple[Any, ...] = ()

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        if self.kind == "categorical":
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (self.kind != "int" or value == int(value))

    def ends(self) -> tuple[Any, ...]:
        """The values at which a range is tried out: both ends, or every choice."""
        if self.kind == "categorical":
            return self.choices
        return (int(self.low), int(self.high)) if self.kind == "int" else (self.low, self.high)

    def points(self) -> tuple[Any, ...]:
        """The values of a grid; OptionError for a range without a step."""
        if self.kind == "categorical":
            return self.choices
        step = self.step if self.step is not None else 1 if self.kind == "int" else None
        if step is None:
            raise OptionError(
                f"Tune.space[{self.name!r}]: got no step, which a grid needs; allowed: ('float', low, high, step), "
                "an int range or a categorical"
            )
        count = int((self.high - self.low) / step + 1e-9) + 1
        values = [self.low + position * step for position in range(count)]
        return tuple(int(value) for value in values) if self.kind == "int" else tuple(round(v, 12) for v in values)

    def declared(self) -> str:
        """The range in words."""
        if self.kind == "categorical":
            return "one of " + ", ".join(map(repr, self.choices))
        scale = ", log scale" if self.kind == "log" else ""
        return f"{self.low:g} to {self.high:g}{scale}" + (f" in steps of {self.step:g}" if self.step else "")


@declare
@dataclass(frozen=True, kw_only=True)
class Tune:
    """What `matx tune` searches, and how. Trials train on the declared seed; the test split is never read.

    `space`: {NAME: range}, NAME being a setting as in `-s NAME=VALUE`, and range one of `('float', low, high)`,
    `('float', low, high, step)`, `('log', low, high)`, `('int', low, high)`, `('int', low, high, step)`,
    `('categorical', [values])`. A kind alone, as in `('float',)`, takes the ends or choices that the option declares.

    >>> import matx
    >>> tune = matx.Tune(space={"strategies.mat.alpha": ("float", 0.0, 1.0)})
    >>> tune.axes[0].declared()
    '0 to 1'
    """

    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    corners: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """{label: {NAME: value}}: plain configurations that are tried first, after the recipe's own values; what a corner
    does not name has the recipe's value. The first is the one that the best is compared with in the end."""
    objectives: Sequence[str] = ("union",)
    """`METRIC` (the mean over scored peers) or `PEER/METRIC`: union, clean, a threat model (`linf:0.1`), or loss."""
    directions: Sequence[Direction] = ()
    """maximize or minimize, one for each objective; empty: maximize, but minimize for a loss."""
    sampler: Literal["tpe", "random", "gp", "cmaes", "grid", "nsgaii"] = field(default="tpe", metadata=NO_EFFECT)
    pruner: Literal["hyperband", "median", "none"] = field(default="hyperband", metadata=NO_EFFECT)
    """Two objectives are never pruned."""
    epochs: Annotated[int, Range(1)] | None = None
    """Of a trial; None: the recipe's."""
    every: Annotated[int, Range(1)] | None = None
    """Validate, and maybe prune, every so many epochs of a trial; None: as the recipe says."""
    train_limit: Annotated[int, Range(1)] | None = None
    """At most so many training images in a trial; None: as the recipe says."""
    seeds: Sequence[int] = field(default=(1001, 1002, 1003, 1004, 1005), metadata=NO_EFFECT)
    """On which the best, the recipe's own values and the first corner are run again; none: nothing is run again, and
    best.gin takes the best trial's values."""
    final_epochs: Annotated[int, Range(1)] | None = field(default=None, metadata=NO_EFFECT)
    """Of those runs; None: as in a trial."""
    seed: int = field(default=0, metadata=NO_EFFECT)
    """Of the sampler's draws."""

    def __post_init__(self) -> None:
        freeze = object.__setattr__
        freeze(self, "space", MappingProxyType({name: tuple(entry) for name, entry in self.space.items()}))
        corners = {label: MappingProxyType(dict(values)) for label, values in self.corners.items()}
        freeze(self, "corners", MappingProxyType(corners))
        for name in ("objectives", "directions", "seeds"):
            freeze(self, name, tuple(getattr(self, name)))
        self._check_objectives()
        self._check_corners()
        if len(self.seeds) == 1 or len(set(self.seeds)) < len(self.seeds):
            raise OptionError("seeds", got=str(list(self.seeds)), allowed="none, or two or more different seeds")

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The space, parsed, in declared order."""
        return tuple(_axis(name, entry) for name, entry in self.space.items())

    @property
    def headings(self) -> tuple[str, ...]:
        """The direction of each objective."""
        return tuple(self.directions) or tuple("minimize" if _is_loss(name) else "maximize" for name in self.objectives)

    def grid(self) -> list[dict[str, Any]]:
        """Every point of the grid, in declared order."""
        axes = self.axes
        return [dict(zip(self.space, values, strict=True)) for values in product(*(axis.points() for axis in axes))]

    def _check_objectives(self) -> None:
        if not 1 <= len(self.objectives) <= 2 or len(set(self.objectives)) < len(self.objectives):
            raise OptionError("objectives", got=str(list(self.objectives)), allowed="one, or two different ones")
        if self.directions and len(self.directions) != len(self.objectives):
            got = f"{len(self.directions)} for {len(self.objectives)} objectives"
            raise OptionError("directions", got=got, allowed="one each")
        if self.sampler == "cmaes" and len(self.objectives) > 1:
            got = "'cmaes' with two objectives"
            raise OptionError("sampler", got=got, allowed="tpe, random, gp, grid or nsgaii")

    def _check_corners(self) -> None:
        axes = {axis.name: axis for axis in self.axes}
        for label, values in self.corners.items():
            for name, value in values.items():
                if name not in axes:
                    known = f"settings of Tune.space ({', '.join(axes) or 'none'}){did_you_mean(name, axes)}"
                    raise OptionError(f"corners[{label!r}]", got=repr(name), allowed=known)
                if not axes[name].holds(value):
                    wanted = f"{axes[name].declared()}, as in Tune.space"
                    raise OptionError(f"corners[{label!r}][{name!r}]", got=repr(value), allowed=wanted)
        if self.sampler == "grid":
            for axis in axes.values():
                axis.points()


def _is_loss(objective: str) -> bool:
    return objective.rpartition("/")[2] == "loss"


def _axis(name: str, entry: Sequence[Any]) -> Axis:
    where = f"space[{name!r}]"
    if not entry or entry[0] not in KINDS:
        got = entry[0] if entry else "nothing"
        near = did_you_mean(str(got), KINDS)
        raise OptionError(where, got=f"{got!r} as the kind of range", allowed=f"{', '.join(KINDS)}{near}")
    kind, values = entry[0], tuple(entry[1:]) or _declared(name, where, entry[0])
    return _categorical(name, where, values) if kind == "categorical" else _range(name, where, kind, values)


def _declared(name: str, where: str, kind: str) -> tuple[Any, ...]:
    """The values of a kind that is given without any: the ends or choices that the option itself declares."""
    owner, _, option = name.rpartition("/")[2].rpartition(".")
    cls = declared_as(owner)
    hint = parameters(cls)[option].hint if cls is not None and option in parameters(cls) else Any
    for alternative in alternatives(hint):
        limits = range_of(alternative)
        if kind == "categorical" and get_origin(alternative) is Literal:
            return (get_args(alternative),)
        if kind != "categorical" and limits is not None and math.isfinite(limits.low) and math.isfinite(limits.high):
            return limits.low, limits.high
    wanted = "choices" if kind == "categorical" else "two ends"
    raise OptionError(
        where, got=f"{kind!r} alone", allowed=f"that for an option that declares {wanted}; give them here"
    )


def _categorical(name: str, where: str, values: tuple[Any, ...]) -> Axis:
    choices = tuple(values[0]) if len(values) == 1 and isinstance(values[0], list | tuple) else ()
    plain = all(choice is None or isinstance(choice, bool | int | float | str) for choice in choices)
    if len(choices) < 2 or not plain or len({repr(choice) for choice in choices}) < len(choices):
        raise OptionError(where, got=repr(values), allowed="('categorical', [two or more different plain values])")
    return Axis(name=name, kind="categorical", choices=choices)


def _range(name: str, where: str, kind: str, values: tuple[Any, ...]) -> Axis:
    allowed = "(low, high)" if kind == "log" else "(low, high) or (low, high, step)"
    wanted = (int,) if kind == "int" else (int, float)
    numbers = all(isinstance(value, wanted) and not isinstance(value, bool) for value in values)
    if not numbers or len(values) not in ((2,) if kind == "log" else (2, 3)):
        what = "whole numbers" if kind == "int" else "numbers"
        raise OptionError(where, got=f"{values!r} behind {kind!r}", allowed=f"{allowed}, {what}")
    low, high = values[:2]
    step = values[2] if len(values) == 3 else None
    if not low < high:
        raise OptionError(where, got=f"{low} to {high}", allowed="a low end under the high end")
    if kind == "log" and low <= 0:
        raise OptionError(where, got=f"{low} as the low end of a log range", allowed="over 0")
    if step is not None and not 0 < step <= high - low:
        raise OptionError(where, got=f"{step} as the step", allowed=f"over 0 and at most {high - low}")
    if step is not None and abs((high - low) / step - round((high - low) / step)) > 1e-9:
        raise OptionError(where, got=f"{low} to {high} in steps of {step}", allowed="a step that reaches the high end")
    return Axis(name=name, kind=kind, low=low, high=high, step=step)
