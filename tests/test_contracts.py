"""Every component on every registry keeps the promises of its kind: a new file is tested with no line written here."""

from __future__ import annotations

from pathlib import Path

import pytest

import registry
from matx.registration import REGISTRIES
from matx.testing import CONTRACTS
from matx.testing.pytest import Promise, promises


@pytest.mark.parametrize("promise", [promise for kind in REGISTRIES for promise in promises(kind)])
def test_component_keeps_its_promise(promise: Promise, tmp_path: Path) -> None:
    if promise.kind == "trackers" and (sentence := REGISTRIES["trackers"][promise.name]().lacks()):
        pytest.skip(f"trackers.{promise.name} {sentence}")  # .ci/run installs what it needs, and tries it
    promise(tmp_path)


def test_every_kind_is_tested() -> None:
    assert sorted(registry.__all__) == sorted(REGISTRIES), "the built-in folders are not the kinds"
    assert set(CONTRACTS) == set(REGISTRIES), "a kind has no contracts"
    assert all(len(registry) > 0 for registry in REGISTRIES.values()), (
        "a registry is empty, so its contracts were run on nothing"
    )
