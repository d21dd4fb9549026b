"""The reports of a folder, made of what the folder holds: of a run, finished or not, or of an evaluation."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from matx.errors import RunError
from matx.evaluation import EvalFolder, read_seconds
from matx.report import html, markdown, training_page
from matx.results import Results, read_illustrations, read_results
from matx.run.stopwatch import read_timing
from matx.runtime.files import write_text
from matx.runtime.folder import RunFolder, open_folder
from matx.runtime.journal import read_rows
from matx.runtime.stored import read_environment

__all__ = ["report", "resolved_of", "write_reports"]

_COMMANDS = (
    "# in the folder of the run",
    "matx run config.gin        # the same run again",
    "matx eval .                # every score with its sanity checks",
    "matx compare . OTHER_RUN   # differences with intervals",
    "matx export .              # the scored peers, to take away",
)


def write_reports(folder: RunFolder, found: Results) -> list[Path]:
    """report.md and report.html of a finished run."""
    page = html(
        found,
        read_rows(folder.metrics),
        config=folder.config.read_text(encoding="utf-8"),
        resolved=resolved_of(folder),
        commands=(*_made_by(folder), *_COMMANDS),
        illustrations=read_illustrations(folder.path),
        timing=read_timing(folder.timing),
    )
    written = {"report.md": markdown(found), "report.html": page}
    for name, text in written.items():
        write_text(folder.path / name, text)
    return [folder.path / name for name in written]


def report(path: Path) -> list[Path]:
    """Write the reports of a folder anew, from its results and metrics; RunError where it is no run or evaluation.

    A run that has not finished has no scores yet: its page shows its training.
    """
    evaluation = EvalFolder(path)
    if evaluation.identity.is_file():
        found, seconds = read_results(evaluation.results), read_seconds(evaluation)
        texts = {"report.md": markdown(found, seconds), "report.html": html(found, seconds=seconds)}
        for name, text in texts.items():
            write_text(path / name, text)
        return [path / name for name in texts]
    folder = open_folder(path)
    if folder.finished:
        return write_reports(folder, read_results(folder.results))
    if not folder.metrics.is_file():
        raise RunError(f"{path}: holds neither results nor metrics yet; allowed: a run that has begun")
    name = str(read_environment(folder)["experiment"])
    config = folder.config.read_text(encoding="utf-8")
    page = training_page(
        name, read_rows(folder.metrics), config=config, resolved=resolved_of(folder), timing=read_timing(folder.timing)
    )
    write_text(folder.path / "report.html", page)
    return [folder.path / "report.html"]


def resolved_of(folder: RunFolder) -> dict[str, Any]:
    """What every setting came to; runs of before did not write it down."""
    try:
        found = json.loads(folder.resolved.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _made_by(folder: RunFolder) -> tuple[str, ...]:
    """The command that began the run, but for its folder, which may have been moved since."""
    words = [str(word) for word in read_environment(folder).get("command") or ()]
    if "--out" in words:
        at = words.index("--out")
        words = [*words[:at], *words[at + 2 :]]
    return (f"{shlex.join(words)}   # made this run",) if words else ()
