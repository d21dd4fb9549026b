"""`matx run`: train, evaluate, report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matx.cli import completing
from matx.cli.dry_run import show_dry_run
from matx.cli.options import common, device, display, load, say, settings
from matx.cli.processes import joined, launched, processes
from matx.cli.results import show_beside, show_comparison, show_run

if TYPE_CHECKING:
    from matx.distributed import World
    from matx.experiment import Experiment
    from matx.runtime.folder import RunFolder

__all__ = ["run"]


@click.command()
@click.argument("files", nargs=-1, metavar="FILE...", shell_complete=completing.files)
@settings
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run folder; it must not exist.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Continue the run in this folder.",
    shell_complete=completing.runs,
)
@click.option("--dry-run", is_flag=True, help="Take some real steps, estimate the run's cost, write nothing.")
@click.option("--peak", type=float, metavar="FLOPS", help="Of a dry run: the time on a device of this peak, too.")
@click.option(
    "--utilisation",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="The share of the peak that is reached there.",
)
@device
@processes
@click.option("--seed", type=click.IntRange(min=0), help="The same as -s Experiment.seed=N.")
@click.option("--seeds", metavar="0-4", help="A queue: each FILE on each of these seeds, compared in the end.")
@click.option("--jobs", type=int, help="Of a queue: so many runs at a time; unless said one a core.")
@common
def run(
    files: tuple[str, ...],
    bindings: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    dry_run: bool,
    peak: float | None,
    utilisation: float,
    device: str | None,
    processes: int | None,
    seed: int | None,
    seeds: str | None,
    jobs: int | None,
) -> int:
    """Train the experiment of a gin FILE (or packaged recipe) and evaluate it.

    The run folder is runs/<recipe>-<n>, or --out DIR. Ctrl-C saves first; --resume RUN continues.

    With --seeds every FILE is an experiment of its own, run on every seed in runs/<recipe>-seed<n> (or below --out);
    the same command continues the queue where it stopped. With --processes, or where torchrun has started the command,
    each batch is shared by several processes.
    """
    if processes is not None:
        if seeds is not None or dry_run:
            raise click.UsageError("--processes shares the batches of one run: leave --seeds and --dry-run away")
        return launched(processes)
    if seeds is not None:
        if resume is not None or dry_run or seed is not None:
            raise click.UsageError("--seeds is a queue: leave --resume, --dry-run and --seed away")
        return _queue(files, bindings, seeds, out, jobs, device)
    if peak is not None and not dry_run:
        raise click.UsageError("--peak belongs to --dry-run")
    if jobs is not None:
        raise click.UsageError("--jobs belongs to a queue of --seeds")
    if resume is not None:
        if out is not None or dry_run:
            raise click.UsageError("--resume continues in its own folder: leave --out and --dry-run away")
        with joined(device) as world:
            _show(*_resume(resume, files, bindings, device, seed, world), world)
        return 0
    if not files:
        raise click.UsageError("Missing argument 'FILE...': a gin file or the name of a packaged recipe")
    with joined(device) as world:
        loaded = load(files, bindings, seed, own=not dry_run)
        from matx import run as runs
        from matx.runtime.stored import with_run_name

        loaded = with_run_name(loaded, files[0])
        if dry_run:
            show_dry_run(runs.dry_run(loaded, out=out, device=_auto(device)), peak, utilisation)
            return 0
        command = ["matx", *sys.argv[1:]]
        folder = runs.run(loaded, out=out, device=_auto(device), display=display(), command=command, world=world)
        _show(folder, loaded.experiment, world)
        if world.writes:
            show_beside(folder, runs.measured_for(loaded.name, loaded.experiment))
    return 0


def _show(folder: RunFolder, experiment: Experiment, world: World) -> None:
    if world.writes:
        show_run(folder, experiment)


def _auto(device: str | None) -> str:
    return "auto" if device is None else device


def _resume(
    path: Path, files: Sequence[str], bindings: Sequence[str], device: str | None, seed: int | None, world: World
) -> tuple[RunFolder, Experiment]:
    """Continue with the folder's own configuration, or with the one given if it is the same."""
    from matx import run as runs
    from matx.runtime.folder import open_folder
    from matx.runtime.stored import load_own

    folder = open_folder(path)
    if files:
        loaded = load(files, bindings, seed, own=True)
    else:
        loaded = load_own(folder, [*bindings, *([] if seed is None else [f"Experiment.seed={seed}"])])
    return runs.resume(path, loaded=loaded, device=device, display=display(), world=world), loaded.experiment


def _queue(
    files: Sequence[str], bindings: Sequence[str], seeds: str, out: Path | None, jobs: int | None, device: str | None
) -> int:
    """Do what is left of a queue of runs: 0, or 1 where a run failed."""
    if not files:
        raise click.UsageError("Missing argument 'FILE...': a gin file or the name of a packaged recipe")
    from matx.compare import compare
    from matx.run import sweep

    planned = sweep.plan(
        files,
        bindings,
        sweep.parse_seeds(seeds),
        parent=out,
        device=_auto(device),
        command=["matx", *sys.argv[1:]],
    )
    swept = sweep.sweep(planned, jobs=jobs, display=display())
    for folder, why in swept.failed.items():
        say(f"failed: {folder}: {why}", err=True)
    if len(swept.finished) > 1:
        show_comparison(compare(swept.finished))
    return 1 if swept.failed else 0
