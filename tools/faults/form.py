"""The cases tried in one form or the other, and what is kept of them: counts, and what was seen where one failed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from matx.runtime.environment import provenance

from . import disk, flips, hostile, kills, mutants, promises, ranks, signals, studies
from .bench import Bench
from .outcomes import Case, Found, Outcome, SkippedError

__all__ = ["CASES", "LONG", "Record", "bench", "read_records", "try_case", "write_records"]

CASES: Sequence[Case] = [
    *kills.CASES, *signals.CASES, *disk.CASES, *flips.CASES, *mutants.CASES, *hostile.CASES, *promises.CASES,
    *studies.CASES, *ranks.CASES,
]  # fmt: skip
LONG = Path(__file__).parent / "long.json"
"""What the long form found, as committed."""
_SHOWN = 5


@dataclass
class Record:
    """What is known of one case."""

    section: str
    fault: str
    tries: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    """The number of a try and what was seen, of the first that failed."""
    skipped: str = ""
    """Why it could not be made; '': it could."""

    @property
    def failed(self) -> int:
        """How many tries failed."""
        return sum(count for text, count in self.outcomes.items() if Outcome(text).failed)

    def add(self, number: int, found: Found) -> None:
        """Count a try."""
        self.tries += 1
        self.outcomes[found.outcome.value] = self.outcomes.get(found.outcome.value, 0) + 1
        if found.outcome.failed and len(self.failures) < _SHOWN:
            self.failures.append(f"try {number}: {found.outcome.value}: {found.seen[-500:]}")


@contextmanager
def bench() -> Iterator[Bench]:
    """A bench in a folder that is removed."""
    home = Path(tempfile.mkdtemp(prefix="matx-faults-")).resolve()
    try:
        yield Bench(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def try_case(case: Case, made: Bench, number: int, record: Record) -> Found | None:
    """Try a case and count it; None where it cannot be made here, which the record says."""
    folder = made.new()
    try:
        found = case.attempt(made, folder, number)
    except SkippedError as why:
        record.skipped = str(why)
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    record.skipped = ""
    record.add(number, found)
    return found


def read_records(path: Path) -> dict[str, Record]:
    """{fault: what is known of it}."""
    if not path.exists():
        return {}
    return {row["fault"]: Record(**row) for row in json.loads(path.read_text(encoding="utf-8"))["cases"]}


def made_with() -> str:
    """The versions and the machine, as the page names them."""
    found = provenance(torch.device("cpu"))
    return ", ".join(f"{name} {value}" for name, value in found.items() if name != "threads")


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write records as JSON, whole."""
    content = {"made_with": made_with(), "cases": [asdict(record) for record in records]}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
