"""`matx tune --show`: a study as it is stored, with nothing run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna

from matx.errors import RunError
from matx.runtime.folder import refuse_links
from matx.tune.final import FinalComparison, read_final
from matx.tune.report import Ranking, lines, ranking, write_reports
from matx.tune.storage import (
    close_storage,
    is_url,
    open_storage,
    storage_errors,
    stored_studies,
    without_password,
)
from matx.tune.study import stored_tune
from matx.tune.study_folder import StudyFolder, find_folder

__all__ = ["StudyView", "show_study"]


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """What the terminal shows of a study."""

    folder: StudyFolder
    lines: list[str]
    """The study in words."""
    ranking: Ranking
    final: FinalComparison | None


def show_study(path: Path, storage: str | None = None) -> StudyView:
    """A stored study; study.html and trials.csv are written anew."""
    folder = find_folder(path)
    about = folder.read_about()
    where = storage or folder.record()
    refuse_links(folder.path)
    if storage is None and "***" in where:
        raise RunError(f"--show: the record of {path} is in {where}, allowed: --storage with its password")
    if not is_url(where) and not Path(where).is_file():
        raise RunError(f"--show: {where}, the record of {path}, is not there; allowed: --storage with its place")
    with _stored(where, about["study"]) as study:
        tune, final = stored_tune(study, without_password(where)), read_final(folder)
        write_reports(folder, study, tune, final)
        return StudyView(folder=folder, lines=lines(study, tune, final), ranking=ranking(study, tune), final=final)


@contextmanager
def _stored(where: str, name: str) -> Iterator[optuna.Study]:
    """A study in a storage, with optuna's own log silenced."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(where)
    try:
        with storage_errors(where):
            known = stored_studies(storage, where)
            if name not in known:
                allowed = f"its studies {', '.join(known)}" if known else "a record that is not empty"
                raise RunError(f"--show: {without_password(where)} has no study {name!r}, allowed: {allowed}")
            yield optuna.load_study(study_name=name, storage=storage)
    finally:
        close_storage(storage)
        optuna.logging.set_verbosity(verbosity)
