"""Faults made to real commands: `python -m tools.faults` tries every case as often as docs/reliability.md says.

It continues where it was stopped, prints a table, keeps what it found in tools/faults/long.json, and writes the page.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .form import Record
    from .outcomes import Case


def main() -> int:
    """Try the cases; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="the few tries of the tests; nothing is kept")
    parser.add_argument("--only", default="", metavar="PATTERN", help="a pattern of their section and fault")
    parser.add_argument("--again", action="store_true", help="forget what is kept of these cases")
    parser.add_argument("--number", type=int, metavar="N", help="try number N of these cases alone, nothing is kept")
    parser.add_argument("--soak", action="store_true", help="instead a training of 3,000 steps: its memory, its files")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from .form import CASES, LONG, Record, bench, read_records, try_case, write_records
    from .page import PAGE, page, table

    if given.soak:
        return _soak()
    cases = [case for case in CASES if re.search(given.only, f"{case.section}: {case.fault}")]
    kept = not given.short and given.number is None
    before = read_records(LONG) if kept else {}
    for case in cases if given.again else []:
        before.pop(case.fault, None)
    records = {case.fault: before.get(case.fault, Record(case.section, case.fault)) for case in CASES}
    with bench() as made:
        for case, number in _rounds(cases, records, given):
            found = try_case(case, made, number, records[case.fault])
            seen = records[case.fault].skipped if found is None else f"{found.outcome.value}: {found.seen[:400]}"
            print(f"{case.fault}: {number}: {seen}", flush=True)
            if kept:
                write_records(LONG, [record for record in records.values() if record.tries or record.skipped])
    print(table([records[case.fault] for case in cases]))
    if kept:
        PAGE.write_text(page(), encoding="utf-8")
    return 1 if any(records[case.fault].failed for case in cases) else 0


def _soak() -> int:
    """Keep what a long training does to memory and files; 1 where one of them grew."""
    from .form import bench
    from .page import PAGE, page
    from .soak import faults_of, in_words, soaked, write_soak

    with bench() as made:
        found = soaked(made.new())
    write_soak(found)
    PAGE.write_text(page(), encoding="utf-8")
    print("\n".join([in_words(found), *faults_of(found)]))
    return 1 if faults_of(found) else 0


def _rounds(
    cases: Sequence[Case], records: Mapping[str, Record], given: argparse.Namespace
) -> Iterator[tuple[Case, int]]:
    """What is left to be tried, each case once in a round: what is there when it is stopped is of all cases alike."""
    tries = {case.fault: case.short if given.short else case.long for case in cases}
    for number in range(max(tries.values())) if given.number is None else [given.number]:
        for case in cases:
            record = records[case.fault]
            left = record.tries <= number < tries[case.fault] and not record.skipped
            if left or given.number is not None:
                yield case, number


if __name__ == "__main__":
    sys.exit(main())
