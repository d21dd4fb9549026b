"""`matx tune`: search the settings that a gin file declares."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matx.cli import completing
from matx.cli.options import common, device, display, load, results_console, say, settings

if TYPE_CHECKING:
    from matx.tune.show import StudyView

__all__ = ["tune"]

_ROWS = 10


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...]", shell_complete=completing.files)
@settings
@click.option(
    "--trials", type=int, default=50, show_default=True, help="The total, those of earlier commands included."
)
@click.option("--jobs", type=int, help="Trials at a time on this machine; unless said one a core, or one a GPU.")
@click.option("--processes", type=int, default=1, metavar="N", help="Train each trial in so many processes.")
@click.option("--study", type=click.Path(path_type=Path), metavar="DIR", help="The study folder (studies/<recipe>).")
@click.option("--storage", metavar="URL", help="Where the trials are stored: a journal file, or postgresql://...")
@click.option("--show", type=click.Path(path_type=Path), metavar="STUDY", help="Show a study; nothing is run.")
@device
@common
def tune(
    files: tuple[str, ...],
    bindings: tuple[str, ...],
    trials: int,
    jobs: int | None,
    processes: int,
    study: Path | None,
    storage: str | None,
    show: Path | None,
    device: str | None,
) -> int:
    """Search the space that a gin FILE declares (mat_union unless said) and end with best.gin for `matx run`.

    After the trials come final runs, beyond --trials: the best trial's values, the recipe's own and the first corner's,
    each on every one of Tune.seeds (five unless the FILE says otherwise: 10 runs, or 15 with a corner). They decide
    whether best.gin takes the best trial's values. Tune.seeds = [] leaves them away.

    The same command continues a study that was stopped or killed. Several machines share one by --storage.
    """
    if show is not None:
        if files or bindings:
            raise click.UsageError("--show shows a stored study: leave FILE and -s away")
        from matx.tune.show import show_study

        _print(show_study(show, storage))
        return 0
    recipes = files or ("mat_union",)
    loaded = load(recipes, bindings, own=True)
    from matx.runtime.stored import with_run_name
    from matx.tune import tuning

    request = tuning.Request(
        trials=trials, folder=study, storage=storage, jobs=jobs, processes=processes, device=device or "auto"
    )
    folder, _ = tuning.tune(with_run_name(loaded, recipes[0]), request, display=display())
    from matx.tune.show import show_study

    _print(show_study(folder.path, storage))
    return 0


def _print(view: StudyView) -> None:
    """The best trials, what matters, and where the files are."""
    from matx.cli.tables import show_table, text_table
    from matx.consent import consent

    rows = view.ranking.rows
    title = f"{view.folder.path}: the best {min(_ROWS, len(rows))} of {len(rows)} trials"
    show_table(results_console(), text_table(title, view.ranking.head, rows[:_ROWS]))
    for line in view.lines:
        say(line)
    say(f"report      {view.folder.page}")
    say(f"trials      {view.folder.table}")
    if view.final is not None:
        command = shlex.join(["matx", "run", str(view.folder.best), *consent().words()])
        say(f"best        {view.folder.best} ({command})")
