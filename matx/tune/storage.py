"""Where a study is stored: a journal file, or a database by its URL; what is wrong with it is one sentence."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
import sqlalchemy.exc
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import StudyDirection
from sqlalchemy.engine import URL, make_url

from matx.errors import RunError

__all__ = [
    "close_storage",
    "is_url",
    "load_or_create",
    "open_storage",
    "storage_errors",
    "stored_studies",
    "without_password",
]

_TIMEOUT = 10
"""Seconds for a connection, and until the lock of a writer that was killed is broken."""
_FAULTS = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)


def is_url(where: str) -> bool:
    """Whether a storage is a database rather than a file."""
    return "://" in where


def without_password(where: str) -> str:
    """A storage as messages and files name it."""
    return _url(where).render_as_string(hide_password=True) if is_url(where) else where


def open_storage(where: str) -> BaseStorage:
    """The storage at a URL or a journal's path (made where it is missing); RunError where it cannot be used."""
    if not is_url(where):
        return _journal(Path(where))
    url = _url(where)
    connect = {"connect_timeout": _TIMEOUT, "options": f"-c lock_timeout={1000 * _TIMEOUT}"}
    engine = {"pool_pre_ping": True, "connect_args": connect if url.get_backend_name() == "postgresql" else {}}
    for attempt in range(5):
        try:
            return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=engine)
        except (sqlalchemy.exc.ProgrammingError, sqlalchemy.exc.IntegrityError) as error:
            # Several nodes that start at once make the same tables; who comes second finds them at the next attempt.
            if attempt == 4:
                raise RunError(_refusal(where, error)) from error
            time.sleep(0.2 * (attempt + 1))
        except (ImportError, *_FAULTS) as error:
            raise RunError(_refusal(where, error)) from error
    raise AssertionError("the loop returns or raises")


def load_or_create(storage: BaseStorage, name: str, directions: Sequence[str], where: str) -> optuna.Study:
    """The study of a name in a storage, made where it is missing."""
    with storage_errors(where):
        if name in optuna.get_all_study_names(storage):  # load_if_exists would write to the journal all the same
            return optuna.load_study(study_name=name, storage=storage)
        ways = [StudyDirection[direction.upper()] for direction in directions]
        return optuna.create_study(storage=storage, study_name=name, directions=ways, load_if_exists=True)


def stored_studies(storage: BaseStorage, where: str) -> list[str]:
    """The names of the studies in a storage."""
    with storage_errors(where):
        return list(optuna.get_all_study_names(storage))


def close_storage(storage: BaseStorage) -> None:
    """Close a storage's connections."""
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Turn an error of the storage into a RunError of one sentence."""
    try:
        yield
    except _FAULTS as error:
        raise RunError(_refusal(where, error)) from error


def _refusal(where: str, error: BaseException) -> str:
    root = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ else error
    first = next((line.strip() for line in str(root).splitlines() if line.strip()), type(root).__name__)
    return (
        f"--storage: {without_password(where)} cannot be used ({first}); allowed: a journal file that can be "
        "written, or the URL of a running database, such as postgresql://USER:PASSWORD@HOST/DATABASE"
    )


def _journal(path: Path) -> JournalStorage:
    # An absolute path: the lock is a link to it, and optuna waits without end for a relative one of a killed owner.
    whole = path.resolve()
    lock = JournalFileSymlinkLock(str(whole), grace_period=_TIMEOUT)
    try:
        if whole.exists():
            _cut_half_line(whole, lock)
        return JournalStorage(JournalFileBackend(str(whole), lock_obj=lock))
    except OSError as error:
        raise RunError(_refusal(str(path), error)) from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise RunError(
            f"--storage: {path} is not a study's journal, or is damaged ({type(error).__name__}: {error}); allowed: "
            "the journal of a study, or a path where none is yet"
        ) from error


def _cut_half_line(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Cut the half line of a writer that was killed while writing; what is appended to it could not be read."""
    with path.open("rb") as file:
        first = file.readline()
    if first and "op_code" not in json.loads(first):
        raise ValueError("its first line is none of a journal")
    lock.acquire()
    try:
        with path.open("r+b") as file:
            content = file.read()
            if not content.endswith(b"\n"):
                file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _url(where: str) -> URL:
    """The URL with a driver that is installed: psycopg 3 where nothing else is asked for."""
    try:
        url = make_url(where)
    except sqlalchemy.exc.ArgumentError as error:
        scheme, _, rest = where.partition("://")
        raise RunError(
            f"--storage: got {scheme}://{rest.rpartition('@')[2]}, allowed: a journal file, or a URL such as "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from error
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername == "postgresql+psycopg" and importlib.util.find_spec("psycopg") is None:
        raise RunError("--storage: got a PostgreSQL database without a driver; allowed: pip install 'matx[postgresql]'")
    return url
