"""A queue of runs, recipes by seeds, that continues where it stopped: one process a run, finished runs are skipped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matx.config import Loaded, load_experiment
from matx.consent import consent
from matx.errors import OptionError, RunError
from matx.plugins import load_plugin
from matx.results import finished_results, whole_flags
from matx.run.execution import resume, run
from matx.runtime.folder import RUNS, RunFolder
from matx.runtime.identity import common_options, identity_of, refuse_other
from matx.runtime.interrupt import continued_by, deferred_signals, interrupted_by
from matx.runtime.progress import Display
from matx.runtime.stored import read_identity, with_run_name
from matx.runtime.tracking import refuse_lacking
from matx.runtime.workers import WorkerPool, usable_cores

__all__ = ["Planned", "Swept", "parse_seeds", "plan", "sweep"]

_STOPPING = "stopping: runs that are being trained save first; a second signal stops at once"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run of the queue."""

    file: str
    bindings: tuple[str, ...]
    folder: Path
    device: str = "auto"
    plugins: tuple[str, ...] = ()
    """Those that the user has named, and those that its file needs, which planning it has loaded."""
    command: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether its figures are there."""
        return finished_results(RunFolder(self.folder).results) is not None and whole_flags(self.folder)


@dataclass(frozen=True)
class Swept:
    """How a queue ended."""

    finished: tuple[Path, ...] = ()
    failed: dict[Path, str] = field(default_factory=dict)
    """{run folder: why}."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0-4`, `7` or `0-2,7` as seeds in the order given; OptionError for anything else.

    >>> parse_seeds("0-2,7")
    (0, 1, 2, 7)
    """
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()) or (dash and int(high) < int(low)):
            raise OptionError(f"--seeds: got {text!r}, allowed: seeds and ranges of them, such as 0-4 or 0-2,7")
        seeds += range(int(low), int(high if dash else low) + 1)
    if len(set(seeds)) < len(seeds):
        raise OptionError(f"--seeds: got {text!r}, allowed: each seed once")
    return tuple(seeds)


def plan(
    files: Sequence[str],
    bindings: Sequence[str],
    seeds: Sequence[int],
    *,
    parent: Path | None = None,
    device: str = "auto",
    command: Sequence[str] = (),
) -> list[Planned]:
    """The runs of a queue, each in `parent`/<recipe>-seed<n>, compared with what is there; nothing is written.

    RunError where two recipes have one name, or where a folder holds another experiment's run.
    """
    names: dict[str, str] = {}
    planned = []
    for file in files:
        for seed in seeds:
            settings = (*bindings, f"Experiment.seed={seed}")
            loaded = with_run_name(load_experiment([file], settings, own=True), file)
            if names.setdefault(loaded.name, file) != file:
                raise RunError(
                    f"{names[loaded.name]} and {file} would both run as {loaded.name}; allowed: recipes of "
                    "different names"
                )
            folder = (parent or RUNS) / f"{loaded.name}-seed{seed}"
            _refuse_another(folder, loaded)
            if not RunFolder(folder).finished:
                refuse_lacking(loaded.experiment)
            planned.append(
                Planned(
                    file=str(file),
                    bindings=settings,
                    folder=folder,
                    device=device,
                    plugins=(*consent().plugins, *loaded.imports),
                    command=tuple(command),
                )
            )
    return planned


def sweep(
    planned: Sequence[Planned],
    *,
    jobs: int | None = None,
    display: Display | None = None,
    work: Callable[[Any, Callable[[Any], Any]], Any] | None = None,
) -> Swept:
    """Do what is left of a queue, `jobs` runs at a time (one a core unless said); Ctrl-C leaves the rest for later."""
    if jobs is not None and jobs < 1:
        raise OptionError(f"--jobs: got {jobs}, allowed: 1 or more")
    display = display or Display()
    left = [one for one in planned if not one.finished]
    failed: dict[Path, str] = {}
    if len(left) < len(planned):
        display.say(f"{len(planned) - len(left)} of {len(planned)} runs are finished already and are skipped")
    pool: WorkerPool[Planned] = WorkerPool(work or do, min(jobs or usable_cores(), max(1, len(left))))
    done = len(planned) - len(left)
    try:
        with (
            continued_by("the same command continues the queue"),
            deferred_signals(display.say, _STOPPING) as stopped,
            display.bar("runs", len(planned), done) as bar,
        ):
            while left or pool.busy():
                if stopped():
                    pool.stop()
                    raise KeyboardInterrupt
                while left and pool.idle():
                    task = left.pop(0)
                    pool.assign(task, task)
                for event in pool.wait(1.0):
                    done += 1
                    if event.kind != "done":
                        failed[event.job.folder] = str(event.content)
                    bar(done, f"{event.job.folder.name}: {event.kind}", line=True)
    finally:
        pool.terminate()
    return Swept(tuple(one.folder for one in planned if one.folder not in failed), failed)


def do(task: Planned, report: Callable[[Any], Any]) -> str:
    """What a worker does with one run: begin it, or continue from its last checkpoint."""
    import torch

    torch.set_num_threads(1)
    with interrupted_by(signal.SIGTERM):
        for plugin in task.plugins:
            load_plugin(plugin)
        loaded = with_run_name(load_experiment([task.file], task.bindings), task.file)
        if task.folder.is_dir():
            return str(resume(task.folder, loaded=loaded, device=None if task.device == "auto" else task.device).path)
        return str(run(loaded, out=task.folder, device=task.device, command=task.command).path)


def _refuse_another(folder: Path, loaded: Loaded) -> None:
    """Refuse a folder that holds another experiment's run, before anything is begun."""
    if not folder.exists():
        return
    stored = RunFolder(folder)
    if not stored.config.is_file():
        raise RunError(f"{folder}: exists and is not a run folder; allowed: another --out")
    identity = identity_of(loaded.experiment)
    refuse_other(
        common_options(read_identity(stored), identity),
        identity,
        f"{folder}: holds a run of another experiment",
        allowed="another --out, or the settings of that run",
    )
