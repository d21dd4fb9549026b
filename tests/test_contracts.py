"""Every component on every shelf keeps the promises of its kind: a new file is tested with no line written here."""

from __future__ import annotations

from pathlib import Path

import pytest

import registry
from matx.registration import SHELVES
from matx.testing import CONTRACTS
from matx.testing.pytest import Promise, promises


@pytest.mark.parametrize("promise", [promise for kind in SHELVES for promise in promises(kind)])
def test_component_keeps_its_promise(promise: Promise, tmp_path: Path) -> None:
    promise(tmp_path)


def test_every_shelf_is_tested() -> None:
    assert sorted(registry.__all__) == sorted(SHELVES), "the built-in plug-in has other folders than there are shelves"
    assert set(CONTRACTS) == set(SHELVES), "a kind has no contracts"
    assert all(len(shelf) > 0 for shelf in SHELVES.values()), "a shelf is empty, so its contracts were run on nothing"
