"""Contracts under pytest: the only file of matx that imports it.

from matx.testing.pytest import over

@over("attacks", "mine")
def test_mine(promise, tmp_path):
    promise(tmp_path)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from matx.registration import REGISTRIES
from matx.testing.checking import CONTRACTS, Contract, examples_of

__all__ = ["Promise", "over", "promises"]


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One contract of one registered component; called, it is tried on each of the component's examples."""

    kind: str
    name: str
    contract: Contract

    def __call__(self, tmp_path: Path) -> None:
        """Raise AssertionError where an example breaks the contract; files that examples need go to `tmp_path`."""
        for component in examples_of(self.kind, self.name, tmp_path):
            self.contract(component)


def promises(kind: str, *names: str) -> Sequence[Any]:
    """A pytest parameter for each contract of these components, of all registered where none is named."""
    return [
        pytest.param(
            Promise(kind=kind, name=name, contract=contract), id=f"{kind}.{name}-{contract.__name__.replace('_', '-')}"
        )
        for name in names or tuple(REGISTRIES[kind])
        for contract in CONTRACTS[kind]
    ]


def over(kind: str, *names: str) -> Any:
    """A decorator: the test's argument `promise` runs over `promises(kind, *names)`."""
    return pytest.mark.parametrize("promise", promises(kind, *names))
