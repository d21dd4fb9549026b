from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.faults import form
from tools.faults.bench import Bench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """Where the faults of a file are tried."""
    with form.bench() as made:
        yield made
