"""Commands that are killed, stopped, or run out of disk or memory, once each."""

from __future__ import annotations

import pytest

from faults.trying import cases, tried
from tools.faults.bench import Bench
from tools.faults.outcomes import Case


@pytest.mark.parametrize("case", cases("Kills", "Signals", "Disk and memory"), ids=lambda case: case.fault)
def test_a_command_that_is_interrupted_is_continued(case: Case, bench: Bench) -> None:
    tried(case, bench)
