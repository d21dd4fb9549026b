"""`matx compare`: runs side by side, with intervals on their differences."""

from __future__ import annotations

from pathlib import Path

import click

from matx.cli import completing
from matx.cli.options import common, json_option, say, show_json
from matx.cli.results import show_comparison

__all__ = ["compare"]


@click.command("compare")
@click.argument(
    "runs",
    metavar="RUN RUN...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=completing.runs,
)
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "json", "html"]), default="text", show_default=True
)
@json_option
@common
def compare(runs: tuple[Path, ...], checkpoint: str, form: str, as_json: bool) -> int:
    """Compare run folders: the first method with every other, paired by seed.

    Runs that differ in their seed alone are one method. Runs on other test images or under other threat models are
    refused. A method is called higher or lower where at least five paired seeds agree by the t interval over seeds and
    by the bootstrap over seeds and images; under five seeds no method is called better.
    """
    from matx import compare as comparing

    found = comparing.compare(runs, checkpoint=checkpoint)
    if as_json or form == "json":
        show_json(comparing.as_json(found))
    elif form == "markdown":
        say(comparing.as_markdown(found))
    elif form == "html":
        click.echo(comparing.as_page(found))
    else:
        show_comparison(found)
    return 0
