"""The declared space checked with the recipe: every name and end is loaded, and the recipe's own values are found."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matx.config import load_experiment
from matx.errors import ConfigError, OptionError
from matx.experiment.tune import Axis, Tune
from matx.runtime.identity import settings
from matx.tune.trial import bindings_for

__all__ = ["own_values", "starting_points"]


def own_values(recipe: Path, tune: Tune) -> dict[str, Any]:
    """{NAME: the recipe's own value} of every searched setting.

    Each end of each range is loaded as an override: an unknown name or a value that the component refuses is a
    ConfigError, and what changes in the experiment shows which value the name has.
    """
    whole = settings(load_experiment([recipe]).experiment)
    problems: list[str] = []
    found: dict[str, Any] = {}
    for axis in tune.axes:
        try:
            found[axis.name] = _own(recipe, axis, whole)
        except ConfigError as error:
            problems += [f"Tune.space[{axis.name!r}]: {problem}" for problem in error.problems]
        except OptionError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return found


def starting_points(tune: Tune, own: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{label: values} that are tried first: the recipe's own, the corners, and all points of a grid."""
    starts = {"recipe": dict(own)}
    starts |= {f"corner {label}": {**own, **values} for label, values in tune.corners.items()}
    if tune.sampler == "grid":
        starts |= {f"grid {number}": point for number, point in enumerate(tune.grid())}
    floats = {axis.name for axis in tune.axes if axis.kind in ("float", "log")}
    return {
        label: {name: float(value) if name in floats else value for name, value in values.items()}
        for label, values in starts.items()
    }


def _own(recipe: Path, axis: Axis, whole: Mapping[str, str]) -> Any:
    paths: dict[str, None] = {}
    for value in axis.ends():
        changed = settings(load_experiment([recipe], bindings_for({axis.name: value})).experiment)
        paths |= dict.fromkeys(path for path in whole if changed.get(path) != whole[path])
    values = {whole[path] for path in paths}
    if len(values) != 1:
        listed = ", ".join(f"{path} = {whole[path]}" for path in list(paths)[:6]) or "none"
        raise OptionError(
            f"Tune.space[{axis.name!r}]: the recipe has no single value of its own for it ({listed}), allowed: a "
            "setting that has one value; put a scope before it"
        )
    (text,) = values
    own = _plain(text)
    if not axis.holds(own):
        raise OptionError(
            f"Tune.space[{axis.name!r}]: the recipe's own value {text} lies outside of {axis.declared()}, allowed: a "
            "range that contains it, since it is the first starting point"
        )
    return own


def _plain(text: str) -> Any:
    """A value from its repr; what is no literal (a component) becomes an object that lies in no range."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return object()
