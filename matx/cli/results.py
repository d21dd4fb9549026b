"""Results on the terminal: the table, and where everything lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from matx.report import Results
    from matx.run import RunFolder
    from matx.run.doubts import Doubts

__all__ = ["show_doubts", "show_results", "show_run", "show_transfer"]


def show_run(folder: RunFolder) -> None:
    """The tables of a finished run and its files."""
    from matx.report import read_results

    show_results(read_results(folder.results))
    click.echo(f"run folder  {folder.path}")
    files = {
        "results": folder.results,
        "report": folder.results.with_name("report.html"),
        "weights": folder.best,
        "curves": folder.tensorboard,
    }
    for what, path in files.items():
        click.echo(f"{what:<11} {path}")


def show_results(found: Results) -> None:
    """A table for each checkpoint that the results hold; `last` is left out where it is the best epoch itself."""
    from rich.console import Console

    from matx.report import radii_table, table

    stdout = Console()
    if not stdout.is_terminal:
        stdout = Console(width=160)
    _print(stdout, table(found), radii_table(found))
    last = found.get("last")
    if last is None:
        return
    if last["epoch"] == found["best_epoch"]:
        stdout.print(f"checkpoint last is the same: epoch {last['epoch']}", highlight=False)
    else:
        _print(stdout, table(found, checkpoint="last"), radii_table(found, checkpoint="last"))


def show_doubts(found: Doubts) -> None:
    """Pass, warn or fail of every check, a block for each score."""
    from matx.evaluate.sanity import verdict

    for which, peers in found.items():
        for name, findings in peers.items():
            click.echo(f"\nsanity      {which} {name}: {verdict(findings)}")
            for one in findings:
                click.echo(f"  {one.status:<4}  {one.check:<15} {one.sentence}")


def show_transfer(found: Mapping[str, Any]) -> None:
    """The matrices of every run, and their means side by side."""
    from matx.report.transfer import transfer_text

    click.echo("\n" + transfer_text(found) + "\n")


def _print(stdout: Console, *tables: Table | None) -> None:
    for one in tables:
        if one is not None:
            stdout.print(one)
