"""The study folder: its files, whether a study may be begun there, and the file of each trial."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from matx.consent import consent
from matx.errors import RunError
from matx.runtime.files import write_json
from matx.text import is_name
from matx.tune.storage import is_url
from matx.tune.study_worker import TrialEnd
from matx.tune.trial import bindings_for

__all__ = ["STUDIES", "StudyFolder", "find_folder", "open_folder", "write_trial"]

STUDIES = Path("studies")
"""Where studies without `--study` go, below the working directory."""


@dataclass(frozen=True)
class StudyFolder:
    """The files of one study; with a database each machine has such a folder of its own."""

    path: Path

    @property
    def about(self) -> Path:
        """The study's name and where it is stored; a folder with this file is a study's."""
        return self.path / "study.json"

    @property
    def journal(self) -> Path:
        """Where the trials are stored, unless a database is given."""
        return self.path / "journal.log"

    @property
    def recipe(self) -> Path:
        """The flattened recipe that every trial starts from."""
        return self.path / "recipe.gin"

    @property
    def best(self) -> Path:
        """What `matx run` takes."""
        return self.path / "best.gin"

    @property
    def final(self) -> Path:
        """The final comparison."""
        return self.path / "final.json"

    @property
    def page(self) -> Path:
        """The report for a browser."""
        return self.path / "study.html"

    @property
    def table(self) -> Path:
        """Every trial, a line each."""
        return self.path / "trials.csv"

    def read_about(self) -> dict[str, str]:
        """What `about` says: study, storage, experiment; empty where the study is new."""
        if not self.about.is_file():
            return {}
        try:
            found = json.loads(self.about.read_text(encoding="utf-8"))
            return {key: str(found[key]) for key in ("study", "storage", "experiment")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.about}: damaged ({type(error).__name__}: {error}); allowed: the file as matx tune wrote it"
            ) from error

    def trial(self, number: int) -> Path:
        """The folder of a trial that ran here."""
        return self.path / "trials" / f"{number:04d}"

    def rerun(self, label: str) -> Path:
        """The folder of a run of the final comparison; its label may be another's, from a journal."""
        if not is_name(label):
            raise RunError(f"{self.path}: got the label {label!r} in its record, allowed: those that matx tune wrote")
        return self.path / "final" / label.replace(" ", "-")

    def record(self) -> str:
        """Where `about` says that the trials are stored; a place out of the folder has to be named by the user."""
        stored = self.read_about()["storage"]
        inside = is_name(stored) and not (self.path / stored).is_symlink()
        if not inside and not consent().trust:
            raise RunError(f"{self.about}: names the storage {stored!r}; allowed: --storage {stored}, or --trust")
        return stored if is_url(stored) else str(self.path / stored)


def open_folder(path: Path | None, name: str) -> StudyFolder:
    """The folder of a study to begin or to continue; RunError where something else is there."""
    folder = StudyFolder(path or STUDIES / name)
    if folder.path.is_dir():
        if any(folder.path.iterdir()) and not folder.about.is_file():
            raise RunError(
                f"--study: {folder.path} is not a study's folder and is not empty; allowed: a new folder, an empty "
                "one, or that of a study to continue"
            )
    elif folder.path.exists():
        raise RunError(f"--study: {folder.path} is a file; allowed: a folder")
    return folder


def find_folder(path: Path) -> StudyFolder:
    """The folder of a study that is there already."""
    folder = StudyFolder(path if path.exists() else STUDIES / path)
    if not folder.about.is_file():
        known = sorted(str(found.parent) for found in STUDIES.glob("*/study.json"))
        raise RunError(f"--show: {path} is not a study's folder; under {STUDIES}/: {', '.join(known) or 'none'}")
    return folder


def write_trial(folder: Path, end: TrialEnd) -> None:
    """trial.json: what was tried, how it ended, and why."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "number": end.number,
        "state": end.state,
        "reason": end.reason,
        "values": end.values,
        "params": end.params,
        "start": end.attrs.get("start"),
        "retry_of": end.attrs.get("retry_of"),
        "duplicate_of": end.duplicate_of,
        "epochs": end.epochs,
        "seconds": end.seconds,
        "bindings": bindings_for(end.params),
    }
    write_json(folder / "trial.json", record)
