"""An experiment made in Python, run as one that was read from a file."""

from __future__ import annotations

from pathlib import Path

from matx.api.loading import LoadedRun, load
from matx.config import Loaded, load_experiment, loaded_from
from matx.experiment import Experiment
from matx.run import run
from matx.runtime.progress import Display

__all__ = ["run_experiment"]


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
    display = Display.here() if progress else Display()
    folder = run(loaded, out=None if out is None else Path(out), device=device, display=display)
    return load(folder.path)


def _loaded(experiment: Experiment | str | Path, name: str) -> Loaded:
    if isinstance(experiment, Experiment):
        return loaded_from(experiment, name)
    return load_experiment([str(experiment)], own=True)
