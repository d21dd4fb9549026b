"""Runs of MLflow, in a database of SQLite or on a server."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from filelock import FileLock

import matx
from matx.effect import NO_EFFECT
from matx.interfaces import Picture, Record, Scalars, Table, Text, TrackedRun, not_installed
from matx.options import Range
from registry.trackers._kept import keep, read_kept
from registry.trackers._shown import bytes_of, markdown_of

_SQLITE = "sqlite:///"
_KEPT = "mlflow.json"
"""In the run's folder: the store and the run's id there."""


@matx.trackers.register("mlflow")
@dataclass(frozen=True, kw_only=True)
class MLflow:
    """A run of MLflow: `pip install 'matx[mlflow]'`; `mlflow ui` (of the whole mlflow) beside mlflow.db shows it.

    Numbers are metrics `PEER/GROUP/TERM`, so that peers are groups, settings are parameters; pictures, transfer tables
    and the configuration are artifacts, beside a database in `mlartifacts`. A resumed run goes on in the same run of
    MLflow; what that has of a step is not written again. Nothing is sent but to the store.
    """

    store: str | None = field(default=None, metadata=NO_EFFECT)
    """Where runs are kept: a file of SQLite, or an address (http://..., postgresql://...). None: what the environment's
    MLFLOW_TRACKING_URI says, else mlflow.db in the working directory."""
    experiment: str | None = field(default=None, metadata=NO_EFFECT)
    """The experiment of MLflow that its run belongs to; None: the recipe's name."""
    timeout: Annotated[int, Range(1)] = field(default=10, metadata=NO_EFFECT)
    """Seconds that a server may take for an answer, asked twice, before the tracker is switched off."""

    def lacks(self) -> str | None:
        return not_installed("mlflow", "matx[mlflow]")

    def where(self, folder: Path) -> str:
        kept = _kept(folder)
        return f"{kept['store']}, run {kept['run']}" if kept else "in no store of MLflow: nothing was written"

    def open(self, run: TrackedRun) -> _Run:
        kept = _kept(run.folder)
        store = _address(self.store or kept.get("store") or os.environ.get("MLFLOW_TRACKING_URI") or "mlflow.db")
        client = _client(store, self.timeout)
        with _quietly(self.timeout):
            known = _known(client, kept.get("run"))
            if known is None:
                made = client.create_run(
                    _experiment(client, self.experiment or run.name, store),
                    run_name=run.folder.name,
                    tags={"matx.folder": str(run.folder.absolute())},
                )
                number = str(made.info.run_id)
                for name, value in run.settings.items():
                    client.log_param(number, _key(name), value)
            else:
                number = known
                client.update_run(number, status="RUNNING")
        keep(run.folder / _KEPT, {"store": store, "run": number})
        return _Run(client=client, run=number, timeout=self.timeout, new=known is None)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(store=str(tmp_path / "mlflow.db"))]


@dataclass(eq=False, kw_only=True)
class _Run:
    """An open run of MLflow."""

    client: Any
    run: str
    timeout: int
    new: bool
    """Nothing was written before."""
    last: dict[str, int] = field(default_factory=dict)
    """{metric: the last step of which the store has it}."""

    def write(self, record: Record) -> None:
        with _quietly(self.timeout):
            match record:
                case Scalars():
                    self._scalars(record)
                case Text():
                    self.client.log_text(self.run, record.markdown, f"{record.name}.md")
                case Table():
                    self.client.log_text(self.run, f"{markdown_of(record)}\n", f"{_key(record.name)}.md")
                case Picture():
                    file = f"{_key(record.peer)}/{_key(record.name)}/{record.step:08d}.png"
                    self.client.log_image(self.run, bytes_of(record), file)

    def close(self, *, finished: bool) -> None:
        with _quietly(self.timeout):
            self.client.set_terminated(self.run, "FINISHED" if finished else "KILLED")

    def _scalars(self, record: Scalars) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        keys = ((_key(f"{peer}/{name}" if peer else name), value) for peer, name, value in record.named())
        new = [Metric(key, value, now, record.step) for key, value in keys if record.step > self._last(key)]
        if new:
            self.client.log_batch(self.run, metrics=new)
            self.last |= {metric.key: record.step for metric in new}

    def _last(self, key: str) -> int:
        """The last step of which the store has a metric; -1: it has none."""
        if key not in self.last:
            past = [] if self.new else self.client.get_metric_history(self.run, key)
            self.last[key] = max((metric.step for metric in past), default=-1)
        return self.last[key]


def _key(name: str) -> str:
    """A name that MLflow takes, on every system."""
    return re.sub(r"[^\w/. -]", "_", name)


def _address(store: str) -> str:
    """The address of a store; a path is that of a file of SQLite."""
    if store.startswith(_SQLITE):
        store = store.removeprefix(_SQLITE)
    return store if "://" in store else f"{_SQLITE}{Path(store).absolute().as_posix()}"


def _client(store: str, timeout: int) -> Any:
    """The client of a store. Of processes that need a new database, one makes it at a time."""
    with _quietly(timeout):
        from mlflow.tracking import MlflowClient
    with _quietly(timeout):  # importing it has set the levels of its loggers
        if not store.startswith(_SQLITE):
            return MlflowClient(store)
        file = Path(store.removeprefix(_SQLITE))
        _refuse_unwritable(file)
        with FileLock(f"{file}.lock", timeout=120):
            return MlflowClient(store)


def _refuse_unwritable(file: Path) -> None:
    """OSError at once, where MLflow would try again for minutes."""
    try:
        with closing(sqlite3.connect(file, timeout=10)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except sqlite3.Error as error:
        raise OSError(f"{file}: cannot be written as a database of SQLite ({error})") from error


def _known(client: Any, run: str | None) -> str | None:
    """A run's id, where the store has it."""
    from mlflow.exceptions import MlflowException

    try:
        return None if run is None else str(client.get_run(run).info.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _experiment(client: Any, name: str, store: str) -> str:
    """The id of the experiment of this name; another process may make it at the same time."""
    from mlflow.exceptions import MlflowException

    home = Path(store.removeprefix(_SQLITE)).parent / "mlartifacts" / re.sub(r"[^\w.-]", "_", name)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            local = store.startswith(_SQLITE)
            return str(client.create_experiment(name, artifact_location=home.as_uri() if local else None))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    return str(found.experiment_id)


def _kept(folder: Path) -> dict[str, str]:
    """The store and the run's id there."""
    return {name: str(value) for name, value in read_kept(folder / _KEPT).items()}


@contextmanager
def _quietly(timeout: int) -> Iterator[None]:
    """MLflow without its messages, warnings and reports to its makers, and without its minutes of trying again."""
    wanted = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout),
    }
    mine = {name: value for name, value in wanted.items() if name not in os.environ}
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    os.environ.update(mine)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in mine:
            os.environ.pop(name, None)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
