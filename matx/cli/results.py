"""Results on the terminal: the table, and where everything lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from matx.report import Results, Seconds
    from matx.runtime.folder import RunFolder

__all__ = ["show_results", "show_run", "show_transfer"]


def show_run(folder: RunFolder) -> None:
    """The tables of a finished run and its files."""
    from matx.report import NOT_CHECKED, read_results

    show_results(read_results(folder.results))
    click.echo(f"sanity      {NOT_CHECKED}: `matx eval {folder.path}` checks every score")
    click.echo(f"seconds     {_seconds(folder)}")
    click.echo(f"run folder  {folder.path}")
    files = {
        "results": folder.results,
        "report": folder.results.with_name("report.html"),
        "weights": folder.best,
        "curves": folder.tensorboard,
    }
    for what, path in files.items():
        click.echo(f"{what:<11} {path}")


def _seconds(folder: RunFolder) -> str:
    """What training and evaluation took, over all sessions of the run."""
    spent = json.loads(folder.timing.read_text(encoding="utf-8"))["seconds"]
    return ", ".join(f"{what} {seconds:.1f}" for what, seconds in spent.items())


def show_results(found: Results, seconds: Seconds | None = None) -> None:
    """The tables of each checkpoint that the results hold; `last` is left out where it is the best epoch itself."""
    from rich.console import Console

    from matx.report import reasons, tables

    stdout = Console()
    if not stdout.is_terminal:
        stdout = Console(width=160)
    for one in tables(found, seconds):
        stdout.print(one, highlight=False)
    for line in reasons(found):
        click.echo(f"sanity      {line}")


def show_transfer(found: Mapping[str, Any]) -> None:
    """The matrices of every run, and their means side by side."""
    from matx.report.transfer import transfer_text

    click.echo("\n" + transfer_text(found) + "\n")
