"""The processes of these tests are started once and end with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.distributed.together import part_all


@pytest.fixture(scope="package", autouse=True)
def processes() -> Iterator[None]:
    yield
    for size, codes in part_all().items():
        assert codes == [0] * size, f"of {size} processes: exit codes {codes}"
