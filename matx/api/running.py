"""An experiment made in Python, run as one that was read from a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from matx.api.loading import LoadedRun, load
from matx.config import Loaded, load_experiment, loaded_from
from matx.engine import EpochRecord
from matx.experiment import Experiment
from matx.run import epochs as run_by_epochs
from matx.run import run
from matx.runtime.progress import Display

__all__ = ["epochs", "run_experiment"]


def run_experiment(
    experiment: Experiment | str | Path, *, out: Path | str | None = None, device: str = "auto", progress: bool = True
) -> LoadedRun:
    """Train, evaluate and report an experiment in a new run folder, `out` or else runs/<name>-<n>; the finished run.

    `experiment` is an Experiment, or a gin file or packaged recipe by name, as in "mat_union". `progress` draws a bar
    on a terminal and in a notebook. MatxError says what cannot be run, before anything is written.

    >>> import matx, tempfile
    >>> run = matx.run_experiment("smoke", out=tempfile.mkdtemp() + "/run", progress=False)
    >>> run.results.experiment
    'smoke'
    """
    loaded = _loaded(experiment, "experiment" if out is None else Path(out).name)
    folder = run(loaded, out=None if out is None else Path(out), device=device, display=_display(progress))
    return load(folder.path)


def epochs(
    experiment: Experiment | str | Path, *, out: Path | str, device: str = "auto", progress: bool = True
) -> Iterator[EpochRecord]:
    """Train an experiment in a new run folder, an epoch whenever the next record is asked for.

    After the last epoch the run is evaluated and reported as `run_experiment` does, and `matx.load(out)` opens it.
    Leaving the loop early keeps what was done; `matx run --resume` goes on. Between epochs the process is as it was, so
    that several experiments may take turns.

    >>> import matx, tempfile
    >>> folder = tempfile.mkdtemp() + "/run"
    >>> for epoch in matx.epochs("smoke", out=folder, progress=False):
    ...     print(epoch.epoch, epoch.score is not None)
    1 True
    2 True
    >>> matx.load(folder).results.experiment
    'smoke'
    """
    loaded = _loaded(experiment, Path(out).name)
    return run_by_epochs(loaded, out=Path(out), device=device, display=_display(progress))


def _display(progress: bool) -> Display:
    return Display.here() if progress else Display()


def _loaded(experiment: Experiment | str | Path, name: str) -> Loaded:
    if isinstance(experiment, Experiment):
        return loaded_from(experiment, name)
    return load_experiment([str(experiment)], own=True)
