"""The short form of the harness's cases, as tests."""

from __future__ import annotations

import pytest

from tools.faults import form
from tools.faults.bench import Bench
from tools.faults.outcomes import Case


def cases(*sections: str) -> list[Case]:
    """The cases of these sections that have a short form."""
    found = [case for case in form.CASES if case.short and case.section in sections]
    assert {case.section for case in found} == set(sections), f"no case of some of {sections} is tried"
    return found


def tried(case: Case, bench: Bench) -> None:
    """Try a case as often as its short form says; what cannot be made here is skipped, and says why."""
    record = form.Record(case.section, case.fault)
    for number in range(case.short):
        found = form.try_case(case, bench, number, record)
        if found is None:
            pytest.skip(f"{case.fault} cannot be made here: {record.skipped}")
        assert not found.outcome.failed, f"{case.fault}: {found.outcome.value}: {found.seen}"
