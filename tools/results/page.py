"""docs/results.md, and gin/measured.json for the end of `matx run`, from docs/results/."""

from __future__ import annotations

import json
from pathlib import Path

from .cifar10 import page as cifar10
from .embedded import page as embedded
from .stored import read

ROOT = Path(__file__).resolve().parents[2]
MEASURED = Path("gin/measured.json")
PAGE = Path("docs/results.md")
WORDS = Path("docs/results/words.md")
"""What stands around the tables, written by hand: each paragraph behind a line `<!-- NAME -->`."""


def words() -> dict[str, str]:
    """{name: text} of what is written by hand."""
    parts = (ROOT / WORDS).read_text(encoding="utf-8").split("<!-- ")[1:]
    return {name: text.strip() for name, _, text in (part.partition(" -->") for part in parts)}


def page() -> str:
    """The whole page."""
    lines = ["# Results", "", "Written by `python -m tools.results` from docs/results/.", ""]
    return "\n".join([*lines, *cifar10.lines(words()), *embedded.lines(words())])


def files() -> dict[Path, str]:
    """{file: its text} of all that is written."""
    measured = embedded.measured(read(embedded.SOURCE)[0])
    return {ROOT / PAGE: page(), ROOT / MEASURED: json.dumps(measured, indent=1) + "\n"}
