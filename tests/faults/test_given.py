"""Damaged files, changed configurations, strangers' folders, components that break promises: a few tries each."""

from __future__ import annotations

import pytest

from faults.trying import cases, tried
from tools.faults.bench import Bench
from tools.faults.outcomes import Case

SECTIONS = (
    "Damaged files",
    "Configurations",
    "Folders, weights and data of somebody else",
    "Components that break a promise",
)


@pytest.mark.parametrize("case", cases(*SECTIONS), ids=lambda case: case.fault)
def test_what_is_given_is_used_as_it_is_or_refused(case: Case, bench: Bench) -> None:
    tried(case, bench)
