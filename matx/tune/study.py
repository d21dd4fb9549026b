"""A study under way: opened or continued, and held against what it was begun as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import BaseStorage
from optuna.trial import Trial

from matx.config import Loaded
from matx.data import fingerprints
from matx.errors import RunError
from matx.experiment.tune import Tune
from matx.runtime.files import plain, write_json, write_text
from matx.runtime.identity import identity_of, refuse_other, upgraded
from matx.runtime.progress import Display
from matx.runtime.workers import Work, WorkerPool
from matx.tune.folder import StudyFolder
from matx.tune.sampling import pruner, sampler
from matx.tune.storage import is_url, open_storage, open_study, shown
from matx.tune.trial_queue import LEASE

__all__ = ["Context", "declared", "opened", "refuse_others"]

_ABOUT = "matx"
_SCHEMA = 2
"""Of what is stored about a study; the first named no schema, and held settings with modules and paths."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """A study under way: what is tuned, where its record and its files are, who works on it."""

    loaded: Loaded
    folder: StudyFolder
    where: str
    storage: BaseStorage
    study: optuna.Study
    device: str
    display: Display
    pool: WorkerPool[Trial]
    stopped: Callable[[], bool]
    lease: float = LEASE

    @property
    def tune(self) -> Tune:
        """What is searched, and how."""
        return self.loaded.experiment.tune

    @property
    def epochs(self) -> int:
        """Of a trial."""
        return self.tune.epochs or self.loaded.experiment.epochs

    @property
    def every(self) -> int:
        """So many epochs of a trial between two validations."""
        return self.tune.every or self.loaded.experiment.evaluation.every

    def device_of(self, position: int) -> str:
        """The device of a worker: the GPUs in turn."""
        return f"cuda:{position % torch.cuda.device_count()}" if self.device == "cuda" else self.device


def opened(
    loaded: Loaded,
    folder: StudyFolder,
    *,
    storage: str | None,
    jobs: int,
    device: str,
    display: Display,
    work: Work,
    stopped: Callable[[], bool],
) -> Context:
    """Begin or continue the study; another experiment, space or objective than it was begun with is refused."""
    where, told = storage or str(folder.journal), folder.told
    _refuse_another_record(folder, told, where)
    about = _about(loaded)
    try:
        if storage is None:
            folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"--study: {folder.path} cannot be made ({error.strerror}); allowed: a writable folder"
        ) from error
    record = open_storage(where)
    name = told.get("study", folder.path.resolve().name)
    study = open_study(record, name, loaded.experiment.tune.headings, where)
    refuse_others(study, about, f"{shown(where)}: study {name!r}")
    if _ABOUT not in study.user_attrs:
        study.set_user_attr(_ABOUT, about)
        study.set_metric_names(list(loaded.experiment.tune.objectives))  # what optuna's dashboard calls them
        refuse_others(study, about, f"{shown(where)}: study {name!r}")
    folder.path.mkdir(parents=True, exist_ok=True)
    write_text(folder.recipe, loaded.text)
    place = folder.journal.name if storage is None else shown(where) if is_url(where) else str(Path(where).resolve())
    told = told or {"study": name, "storage": place, "experiment": loaded.name}
    write_json(folder.about, told)
    context = Context(
        loaded=loaded,
        folder=folder,
        where=where,
        storage=record,
        study=study,
        device=device,
        display=display,
        pool=WorkerPool(work, jobs),
        stopped=stopped,
    )
    study.sampler = sampler(context.tune)
    study.pruner = pruner(context.tune, epochs=context.epochs, every=context.every)
    return context


def _refuse_another_record(folder: StudyFolder, told: Mapping[str, str], where: str) -> None:
    """Refuse a record that is not the one which this folder's files belong to."""
    if not told:
        return
    stored = told["storage"]
    databases = is_url(stored) or is_url(where)
    same = stored == shown(where) if databases else (folder.path / stored).resolve() == Path(where).resolve()
    if not same:
        raise RunError(
            f"--storage: the record of {folder.path} is in {stored}, got {shown(where)}; allowed: the same, or another "
            f"--study (where the record has moved, {folder.about} has to say so)"
        )
    if not databases and not Path(where).is_file():
        raise RunError(f"--study: {folder.path} has lost its record {where}; allowed: put it back, or another --study")


def refuse_others(study: optuna.Study, about: dict[str, Any], where: str) -> None:
    """Refuse to continue a study that is not ours, or was begun as something else; the sentence shows what differs."""
    stored = study.user_attrs.get(_ABOUT)
    if stored is None and study.get_trials(deepcopy=False):
        raise RunError(f"{where} was not begun by matx tune; allowed: another --study, or another --storage")
    if stored is None:
        return
    for part in ("settings", "search", "data"):
        refuse_other(
            stored[part] if "schema" in stored or part == "data" else upgraded(stored[part], about[part]),
            about[part],
            f"{where} was begun as something else",
            allowed="the same recipe, space and objectives, or another --study",
        )


def declared(study: optuna.Study, where: str) -> Tune:
    """What a stored study searches."""
    stored = study.user_attrs.get(_ABOUT)
    if stored is None:
        raise RunError(f"{where} was not begun by matx tune")
    known = {part.name for part in fields(Tune)}
    return Tune(**{name: value for name, value in stored["tune"].items() if name in known})


def _about(loaded: Loaded) -> dict[str, Any]:
    experiment = loaded.experiment
    tune = {part.name: getattr(experiment.tune, part.name) for part in fields(Tune)}
    return {
        "schema": _SCHEMA,
        "settings": identity_of(experiment),
        "search": identity_of(experiment.tune, "Tune"),
        "data": dict(fingerprints(experiment.dataset(), test=False)),
        "tune": plain(tune),
    }
