"""Run the contracts of a kind over the examples of a component, without pytest."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matx.errors import RegistrationError, did_you_mean
from matx.registration import KINDS, REGISTRIES, Kind
from matx.testing import components
from matx.testing.missing import lacking, line_of

__all__ = ["CONTRACTS", "Contract", "Outcome", "check", "check_component", "examples_of"]

Contract = Callable[[Any], None]
"""Takes a component; raises AssertionError with a sentence where the component breaks its promise."""


def _of_kind(kind: Kind) -> tuple[Contract, ...]:
    module, _, name = kind.contract.partition(":")
    found: tuple[Contract, ...] = getattr(importlib.import_module(module), name)
    return found


CONTRACTS: Mapping[str, tuple[Contract, ...]] = {kind.name: (*components.CONTRACTS, *_of_kind(kind)) for kind in KINDS}
"""{kind: its contracts}, those of all components first."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one contract said of one example."""

    contract: str
    component: str
    """The example's repr, which shows every option."""
    failure: str | None = None
    """None: the promise is kept."""
    where: str = ""
    """`FILE:LINE` of a failure: where the component was last at work, else where its class begins."""

    @property
    def passed(self) -> bool:
        """Is the promise kept?"""
        return self.failure is None


def examples_of(kind: str, name: str, tmp_path: Path) -> Sequence[Any]:
    """The examples that a registered component offers; AssertionError where it offers none of its own class."""
    if kind not in REGISTRIES:
        raise RegistrationError(f"kind: got {kind!r}, allowed: {', '.join(REGISTRIES)}{did_you_mean(kind, REGISTRIES)}")
    component = REGISTRIES[kind][name]
    if lines := lacking(component, next(one.protocol for one in KINDS if one.name == kind)):
        raise AssertionError(f"{kind}.{name} lacks what its kind needs; add to the class: {'; '.join(lines)}")
    try:
        found = list(component.examples(tmp_path))
    except Exception as error:  # a plug-in may raise anything; it is its failure, not the checker's
        raise AssertionError(f"{kind}.{name}.examples raised {type(error).__name__}: {error}") from error
    if not found:
        raise AssertionError(f"{kind}.{name}.examples gives no instance, so nothing can be tested")
    for one in found:
        if type(one) is not component:
            raise AssertionError(f"{kind}.{name}.examples gives {one!r}, which is not of its own class")
    return found


def check(kind: str, name: str) -> list[Outcome]:
    """Every contract of the kind over every example of the component: one outcome each."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = examples_of(kind, name, Path(folder))
        except AssertionError as error:
            where = line_of(REGISTRIES[kind][name], error)
            return [Outcome(contract="examples", component=f"{kind}.{name}", failure=str(error), where=where)]
        return [outcome for component in found for outcome in check_component(kind, component)]


def check_component(kind: str, component: object) -> list[Outcome]:
    """Every contract of the kind on one instance: one outcome each."""
    return [_outcome(contract, component) for contract in CONTRACTS[kind]]


def _outcome(contract: Contract, component: object) -> Outcome:
    failure, where = None, ""
    try:
        contract(component)
    except Exception as error:  # a plug-in may raise anything; it is its failure, not the checker's
        failure = str(error) if isinstance(error, AssertionError) else f"raised {type(error).__name__}: {error}"
        where = line_of(type(component), error)
    return Outcome(contract=contract.__name__, component=repr(component), failure=failure, where=where)
