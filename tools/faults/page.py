"""docs/reliability.md, from what the long form found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from .form import LONG, Record, read_records
from .outcomes import Outcome
from .soak import faults_of, in_words, read_soak

__all__ = ["PAGE", "page", "table"]

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_HEAD = """# What happens when something goes wrong

Each fault below was made to a real command, so often, with these outcomes. `python -m tools.faults` makes them all
(an hour or more on two cores; stopped, the same command continues) and writes this page; `tests/faults` tries some of
them a few times each. "Figures equal bit for bit" compares results.json, flags.npz, metrics.jsonl, both reports and
the weights of best.pt and last.pt with those of a command to which nothing happened. A sentence counts if it names what
is to blame and shows no traceback. A changed configuration that is read must be what gin itself makes of it.

"""


def page() -> str:
    """The page."""
    made_with = json.loads(LONG.read_text(encoding="utf-8"))["made_with"]
    records = list(read_records(LONG).values())
    tries, failed = sum(record.tries for record in records), sum(record.failed for record in records)
    skipped = [record for record in records if record.skipped]
    head = f"{tries:,} tries of {len(records) - len(skipped)} faults; {failed} failed. Made with {made_with}.\n"
    soak = read_soak()
    long = f"\n## A long training\n\nSeen from outside, by `python -m tools.faults --soak`: {in_words(soak)}\n"
    return _HEAD + head + table(records) + long + _failures(records, faults_of(soak))


def table(records: Sequence[Record]) -> str:
    """A table for each section: fault, tries, outcomes."""
    text = ""
    for section, rows in groupby(records, key=lambda record: record.section):
        text += f"\n## {section}\n\n| fault | tries | outcome |\n|---|---|---|\n"
        for record in rows:
            text += f"| {record.fault} | {record.tries or '-'} | {outcomes(record)} |\n"
    return text


def outcomes(record: Record) -> str:
    """The outcomes of a case, the commonest first."""
    if record.skipped:
        return f"not made: {record.skipped}"
    counts = sorted(record.outcomes.items(), key=lambda item: (Outcome(item[0]).failed, -item[1]))
    parts = [f"{count} {f'**{text}**' if Outcome(text).failed else text}" for text, count in counts]
    return "; ".join(parts)


def _failures(records: Sequence[Record], grown: Sequence[str]) -> str:
    lines = [f"- {record.fault}: {line}" for record in records for line in record.failures]
    lines += [f"- a long training: {line}" for line in grown]
    return "\n## What did not hold\n\n" + ("\n".join(lines) if lines else "Nothing.") + "\n"
