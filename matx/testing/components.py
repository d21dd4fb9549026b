"""Contracts of every component: configured once, called many times, and readable."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any

from matx.testing.trial import require

__all__ = ["CONTRACTS", "is_a_frozen_dataclass", "is_documented", "shows_every_option", "survives_copies"]


def is_a_frozen_dataclass(component: Any) -> None:
    """A frozen, keyword-only dataclass: it cannot be changed, nor its options be given in a wrong order."""
    name = type(component).__qualname__
    require(dataclasses.is_dataclass(component), f"{name} is not a dataclass: decorate it with @dataclass(frozen=True)")
    params = type(component).__dataclass_params__
    require(bool(params.frozen), f"{name} is not frozen: a component is configured once, so declare frozen=True")
    loose = [option.name for option in dataclasses.fields(component) if option.init and not option.kw_only]
    require(not loose, f"{name} takes {', '.join(loose)} by position: declare kw_only=True")


def shows_every_option(component: Any) -> None:
    """The repr names every option, so that logs and run folders say what was used."""
    missing = [option.name for option in dataclasses.fields(component) if f"{option.name}=" not in repr(component)]
    require(not missing, f"{component!r} hides {', '.join(missing)}: a repr shows every option")


def is_documented(component: Any) -> None:
    """Its docstring is what `matx show` prints: a formula, the costs, a source."""
    text = inspect.getdoc(type(component)) or ""
    generated = f"{type(component).__name__}("  # dataclass writes the signature where there is no docstring
    require(bool(text) and not text.startswith(generated), f"{type(component).__qualname__} has no docstring")


def survives_copies(component: Any) -> None:
    """Pickles (for spawned workers) and copies to an equal component."""
    try:
        twin = pickle.loads(pickle.dumps(component))
    except Exception as error:  # pickle raises many kinds
        raise AssertionError(
            f"{component!r} does not pickle ({error}): define its class and parts in modules"
        ) from error
    require(repr(twin) == repr(component), f"{component!r} comes back from pickle as {twin!r}")
    require(repr(copy.deepcopy(component)) == repr(component), f"{component!r} changes when it is copied")


CONTRACTS: tuple[Callable[[Any], None], ...] = (
    is_a_frozen_dataclass,
    shows_every_option,
    is_documented,
    survives_copies,
)
"""The contracts of this file."""
