"""Fixtures of the engine's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import matx
from matx.engine import Training, start
from tests.engine.world import experiment


@pytest.fixture(scope="session")
def data() -> Any:
    return matx.datasets["digits"]()()


@pytest.fixture
def launch(data: Any) -> Callable[..., Training]:
    """The training of an experiment on the digits, before its first step."""
    return lambda *args, **options: start(experiment(*args, **options), data)
