"""`matx tune --show`: a study as its record has it, with nothing run."""

from __future__ import annotations

from pathlib import Path

import optuna

from matx.errors import RunError
from matx.tune.final import FinalComparison, read_final
from matx.tune.folder import StudyFolder, find_folder
from matx.tune.report import lines, ranking, write_reports
from matx.tune.storage import close_storage, is_url, open_storage, shown, storage_errors, stored_studies
from matx.tune.study import declared

__all__ = ["look"]


def look(
    path: Path, storage: str | None = None
) -> tuple[StudyFolder, list[str], tuple[list[str], list[list[str]]], FinalComparison | None]:
    """(folder, the study in words, its ranking, its final); study.html and trials.csv are written anew."""
    folder = find_folder(path)
    about = folder.told
    where = storage or str(folder.path / about["storage"] if not is_url(about["storage"]) else about["storage"])
    if storage is None and "***" in where:
        raise RunError(f"--show: the record of {path} is in {where}, allowed: --storage with its password")
    if not is_url(where) and not Path(where).is_file():
        raise RunError(f"--show: {where}, the record of {path}, is not there; allowed: --storage with its place")
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    record = open_storage(where)
    try:
        with storage_errors(where):
            known = stored_studies(record, where)
            if about["study"] not in known:
                raise RunError(f"--show: {shown(where)} holds no study {about['study']!r}; it holds {', '.join(known)}")
            study = optuna.load_study(study_name=about["study"], storage=record)
            tune, final = declared(study, shown(where)), read_final(folder)
            write_reports(folder, study, tune, final)
            return folder, lines(study, tune, final), ranking(study, tune), final
    finally:
        close_storage(record)
        optuna.logging.set_verbosity(verbosity)
