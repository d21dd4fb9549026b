"""`matx compare`: runs side by side, with intervals on their differences."""

from __future__ import annotations

import json
from pathlib import Path

import click

from matx.cli.options import common

__all__ = ["compare"]


@click.command("compare")
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option("--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
@common
def compare(runs: tuple[Path, ...], checkpoint: str, form: str) -> int:
    """Compare run folders: the first method with every other, paired by seed.

    Runs that differ in their seed alone are one method. Runs on other test images or under other threat models are
    refused; under five paired seeds no method is called better.
    """
    from rich.console import Console

    from matx import compare as comparing

    found = comparing.compare(runs, checkpoint=checkpoint)
    if form == "json":
        click.echo(json.dumps(comparing.as_json(found), indent=2))
    elif form == "markdown":
        click.echo(comparing.as_markdown(found))
    else:
        stdout = Console()
        if not stdout.is_terminal:
            stdout = Console(width=200)
        stdout.print(comparing.as_table(found))
        for note in comparing.notes(found):
            click.echo(note)
    return 0
