"""Commands of matx behind committed results. Each goes on where it was stopped, and does nothing twice."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from matx.cli import main as matx


def searched(recipe: Path, study: Path, trials: int, options: Sequence[str] = ()) -> None:
    """A study in its folder: every trial trains as long as the recipe, and is scored on validation images."""
    if not (study / "final.json").is_file():
        where = ("--trials", str(trials), "--jobs", "1", "--device", "cpu", "--study", str(study))
        command("tune", str(recipe), *options, *where)


def trained(recipe: Path, run: Path, seed: int, options: Sequence[str] = ()) -> Path:
    """A run in its folder, to its report."""
    if not (run / "report.html").is_file():
        if run.exists():
            command("run", "--resume", str(run), "-q")
        else:
            where = ("--seed", str(seed), "--out", str(run), "--device", "cpu", "-q")
            command("run", str(recipe), *options, *where)
    return run


def evaluated(run: Path, name: str, *options: str) -> Path:
    """An evaluation of a run, in a folder beside it."""
    out = beside(run, name)
    if not (out / "report.html").is_file():
        command("eval", str(run), *options, "--out", str(out), "--device", "cpu", "-q")
    return out


def beside(run: Path, name: str) -> Path:
    """Where an evaluation of a run lies."""
    return run.with_name(f"{run.name}.{name}")


def command(*words: str) -> None:
    """One command of matx, in this process; the end of all where it fails."""
    print("matx", *words, flush=True)
    code = matx(list(words))
    if code:
        sys.exit(code)
