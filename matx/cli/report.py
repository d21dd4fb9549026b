"""`matx report`: the pages of a folder, made anew."""

from __future__ import annotations

from pathlib import Path

import click

from matx.cli import completing
from matx.cli.options import common, json_option, show_json

__all__ = ["report"]


@click.command("report")
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path), shell_complete=completing.runs)
@json_option
@common
def report(folder: Path, as_json: bool) -> int:
    """Write report.md and report.html of a RUN or an evaluation anew, from its results and metrics.

    Also of a run that is half finished, whose page then shows its training, and of folders that older versions wrote.
    """
    from matx.run import report as write

    written = write(folder)
    if as_json:
        show_json({"written": [str(path) for path in written]})
    else:
        for path in written:
            click.echo(f"{path.stat().st_size:>10,}  {path}")
    return 0
