"""The run folder: its places, how it is made, and what may be continued."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matx.consent import consent
from matx.errors import RunError
from matx.text import is_name

__all__ = ["RUNS", "RunFolder", "create", "open_folder", "refuse_existing", "refuse_links", "refuse_unwritable"]

RUNS = Path("runs")
"""Where runs without `--out` go, below the working directory."""


@dataclass(frozen=True)
class RunFolder:
    """The places of one run on disk."""

    path: Path

    @property
    def config(self) -> Path:
        """The flattened gin text as given; running it gives the same experiment."""
        return self.path / "config.gin"

    @property
    def resolved(self) -> Path:
        """Every resolved value, for readers (`.txt`) and programs (`.json`)."""
        return self.path / "resolved.txt"

    @property
    def identity(self) -> Path:
        """What figures depend on, as `identity.identity_of` says; runs that differ in the seed alone are one method."""
        return self.path / "identity.json"

    @property
    def environment(self) -> Path:
        """Versions, device, seed, git revision, fingerprints of the data."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: steps and epochs."""
        return self.path / "metrics.jsonl"

    @property
    def best(self) -> Path:
        """The checkpoint of the epoch with the highest validation score."""
        return self.path / "checkpoints" / "best.pt"

    @property
    def last(self) -> Path:
        """The latest checkpoint: where `--resume` continues."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def previous(self) -> Path:
        """The checkpoint before the latest one: what `--resume` falls back on where that is damaged."""
        return self.path / "checkpoints" / "previous.pt"

    @property
    def results(self) -> Path:
        """The figures; written last of all, so that its presence says that the run is finished."""
        return self.path / "results.json"

    @property
    def flags(self) -> Path:
        """Every column that has a value per test image (the schema is `matx.results.flags`')."""
        return self.path / "flags.npz"

    @property
    def not_finite(self) -> Path:
        """The step in which something was not finite: its batch, and the checkpoint from which it is replayed."""
        return self.path / "not_finite.json"

    @property
    def timing(self) -> Path:
        """Wall-clock figures, which are nowhere else but in what trackers wrote."""
        return self.path / "timing.json"

    @property
    def log(self) -> Path:
        """What was said on the way."""
        return self.log_of(0)

    def log_of(self, rank: int) -> Path:
        """What a process of the run said on the way."""
        return self.path / ("log.txt" if rank == 0 else f"log-rank{rank}.txt")

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.results.is_file()


def refuse_existing(out: Path | None) -> None:
    """Refuse an `--out` that is there already, before any work is done."""
    if out is None:
        return
    try:
        os.lstat(out)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise RunError(f"--out: {out} cannot be made ({error.strerror}); allowed: a folder that can") from error
    more = f"; to continue a run: --resume {out}" if RunFolder(out).environment.is_file() else ""
    raise RunError(f"--out: {out} exists already, allowed: a folder that does not{more}")


def refuse_unwritable(out: Path | None, home: Path = RUNS) -> None:
    """Refuse a place in which no folder can be made, before any work is done; what is tried is taken away again."""
    parent = home if out is None else out.parent
    there = next(folder for folder in (parent, *parent.absolute().parents) if os.path.lexists(folder))
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".matx-"):
            pass
    except OSError as error:
        raise _unwritable(parent, error) from error


def _unwritable(parent: Path, error: OSError) -> RunError:
    return RunError(f"--out: nothing can be written in {parent} ({error.strerror}); allowed: a writable folder")


def open_folder(path: Path) -> RunFolder:
    """The run folder at a path; a RunError where it is none."""
    folder = RunFolder(path)
    if path.is_file():
        raise RunError(f"{path}: got a file, allowed: a run folder")
    if not path.is_dir():
        known = ", ".join(str(found) for found in sorted(RUNS.glob("*"), key=_age)[-5:]) if RUNS.is_dir() else ""
        raise RunError(f"{path}: no such run folder; the latest under {RUNS}/: {known or 'none'}")
    if not folder.config.is_file():
        raise RunError(f"{path}: not a run folder: it holds no {folder.config.name}")
    return folder


def refuse_links(folder: Path) -> None:
    """Refuse to write in a folder that holds links out of it, as somebody else's may; --trust follows them."""
    whole = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(whole) and not consent().trust:
            raise RunError(
                f"{path}: got a symbolic link to {os.readlink(path)}, out of {folder}, where something is to be "
                "written; allowed: files and folders of its own, or --trust"
            )


def create(out: Path | None, name: str, fill: Callable[[Path], None], *, home: Path = RUNS) -> Path:
    """A new folder at `out`, else at <home>/<name>-<n>, that appears complete with what `fill` puts into it."""
    refuse_existing(out)
    if out is None and not is_name(name):
        raise RunError(f"got {name!r} as the name of a new folder in {home}; allowed: the name of a folder, or --out")
    parent = home if out is None else out.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        partial = _unused(lambda n: parent / f".{(name if out is None else out.name)}-partial-{n}")
    except OSError as error:
        raise _unwritable(parent, error) from error
    try:
        fill(partial)
        return _claim(partial, out, name, home)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _claim(partial: Path, out: Path | None, name: str, home: Path) -> Path:
    """Give the filled folder its name in one move; a name that another run takes meanwhile is never touched."""
    while True:
        target = out or home / f"{name}-{_next_number(name, home)}"
        refuse_existing(out)
        try:
            partial.rename(target)
        except OSError as error:
            if out is not None or not target.exists():
                raise RunError(f"--out: {target} cannot be made ({error.strerror})") from error
        else:
            return target


def _unused(place: Callable[[int], Path]) -> Path:
    """Make the first folder of a numbered series that is free."""
    number = 1
    while True:
        try:
            place(number).mkdir()
        except FileExistsError:
            number += 1
        else:
            return place(number)


def _next_number(name: str, home: Path) -> int:
    pattern = re.compile(re.escape(name) + r"-(\d+)\Z")
    found = [int(match[1]) for path in home.iterdir() if (match := pattern.match(path.name))]
    return 1 + max(found, default=0)


def _age(path: Path) -> float:
    return path.stat().st_mtime
