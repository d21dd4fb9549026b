"""A study that is begun or continued: its experiment must be the one that it was begun with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import BaseStorage
from optuna.trial import Trial

from matx.config import Loaded
from matx.consent import consent
from matx.data import fingerprints
from matx.errors import RunError
from matx.experiment import data_of
from matx.experiment.tune import Tune
from matx.runtime.files import plain, write_json, write_text
from matx.runtime.folder import refuse_links
from matx.runtime.identity import common_options, identity_of, refuse_other, upgraded
from matx.runtime.progress import Display
from matx.runtime.workers import WorkerPool
from matx.tune.pruning import pruner
from matx.tune.sampling import refuse_code, sampler
from matx.tune.storage import is_url, load_or_create, open_storage, without_password
from matx.tune.study_folder import StudyFolder
from matx.tune.trial import Task, bindings_for
from matx.tune.trial_queue import LEASE, slot_of

__all__ = ["OpenStudy", "Resources", "open_study", "refuse_others", "stored_tune"]

_IDENTITY = "matx"
_SCHEMA = 2
"""Of what is stored about a study; the first named no schema, and had settings with modules and paths."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenStudy:
    """A study that is searched: its experiment, its folder, and where its trials are stored."""

    loaded: Loaded
    folder: StudyFolder
    where: str
    storage: BaseStorage
    study: optuna.Study

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

    def task(self, params: Mapping[str, Any], folder: Path, device: str, processes: int) -> Task:
        """The training of a configuration as a trial."""
        return Task(
            recipe=str(self.folder.recipe),
            bindings=bindings_for(params),
            folder=str(folder),
            objectives=tuple(self.tune.objectives),
            device=device,
            epochs=self.epochs,
            every=self.every,
            train_limit=self.tune.train_limit,
            plugins=(*consent().plugins, *self.loaded.imports),
            processes=processes,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Resources:
    """What this process searches with: its workers and their device, where progress is shown, when to stop."""

    pool: WorkerPool[Trial]
    device: str
    display: Display
    stopped: Callable[[], bool]
    lease: float = LEASE
    processes: int = 1
    """So many train each trial together."""

    def device_of(self, position: int) -> str:
        """The device of a worker: the GPUs in turn; the first of several, where a trial has several processes."""
        first = position * self.processes % max(1, torch.cuda.device_count())
        return f"cuda:{first}" if self.device == "cuda" else self.device


def open_study(loaded: Loaded, folder: StudyFolder, storage: str | None) -> OpenStudy:
    """Begin or continue the study; another experiment, space or objective than it was begun with is refused."""
    where, about = storage or str(folder.journal), folder.read_about()
    _refuse_other_storage(folder, about, where)
    if folder.path.is_dir():
        refuse_links(folder.path)
    identity = _identity(loaded)
    try:
        if storage is None:
            folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"--study: {folder.path} cannot be made ({error.strerror}); allowed: a writable folder"
        ) from error
    opened = open_storage(where)
    name = about.get("study", folder.path.resolve().name)
    study = load_or_create(opened, name, loaded.experiment.tune.headings, where)
    refuse_others(study, identity, f"{without_password(where)}: study {name!r}")
    refuse_code(study)
    if _IDENTITY not in study.user_attrs:
        study.set_user_attr(_IDENTITY, identity)
        study.set_metric_names(list(loaded.experiment.tune.objectives))  # what optuna's dashboard calls them
        refuse_others(study, identity, f"{without_password(where)}: study {name!r}")
    folder.path.mkdir(parents=True, exist_ok=True)
    write_text(folder.recipe, loaded.text)
    place = without_password(where) if is_url(where) else str(Path(where).resolve())
    place = folder.journal.name if storage is None else place
    write_json(folder.about, about or {"study": name, "storage": place, "experiment": loaded.name})
    found = OpenStudy(loaded=loaded, folder=folder, where=where, storage=opened, study=study)
    slot = partial(slot_of, study)
    study.sampler = sampler(found.tune, slot)
    study.pruner = pruner(found.tune, slot, epochs=found.epochs, every=found.every)
    return found


def _refuse_other_storage(folder: StudyFolder, about: Mapping[str, str], where: str) -> None:
    """Refuse a storage other than the one to which this folder's files belong."""
    if not about:
        return
    stored = about["storage"]
    databases = is_url(stored) or is_url(where)
    same = stored == without_password(where) if databases else (folder.path / stored).resolve() == Path(where).resolve()
    if not same:
        raise RunError(
            f"--storage: the record of {folder.path} is in {stored}, got {without_password(where)}; allowed: the same, "
            f"or another --study (where the record has moved, {folder.about} has to say so)"
        )
    if not databases and (not Path(where).is_file() or not Path(where).stat().st_size):
        lost = "an empty record" if Path(where).is_file() else "lost its record"
        raise RunError(f"--study: {folder.path} has {lost} {where}; allowed: put it back, or another --study")


def refuse_others(study: optuna.Study, identity: dict[str, Any], where: str) -> None:
    """Refuse to continue a study of another program, or of another experiment; the sentence shows what differs."""
    stored = study.user_attrs.get(_IDENTITY)
    if stored is None and study.get_trials(deepcopy=False):
        raise RunError(f"{where} was not begun by matx tune; allowed: another --study, or another --storage")
    if stored is None:
        return
    as_now = common_options if "schema" in stored else upgraded
    for part in ("settings", "search", "data"):
        refuse_other(
            stored[part] if part == "data" else as_now(stored[part], identity[part]),
            identity[part],
            f"{where} was begun as something else",
            allowed="the same recipe, space and objectives, or another --study",
        )


def stored_tune(study: optuna.Study, where: str) -> Tune:
    """What a stored study searches."""
    stored = study.user_attrs.get(_IDENTITY)
    if stored is None:
        raise RunError(f"{where} was not begun by matx tune")
    known = {part.name for part in fields(Tune)}
    return Tune(**{name: value for name, value in stored["tune"].items() if name in known})


def _identity(loaded: Loaded) -> dict[str, Any]:
    experiment = loaded.experiment
    tune = {part.name: getattr(experiment.tune, part.name) for part in fields(Tune)}
    return {
        "schema": _SCHEMA,
        "settings": identity_of(experiment),
        "search": identity_of(experiment.tune, "Tune"),
        "data": dict(fingerprints(data_of(experiment), test=False)),
        "tune": plain(tune),
    }
