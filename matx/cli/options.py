"""Options that several verbs share, and what they set up."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from matx.config import Loaded

__all__ = ["common", "console", "device", "load", "results_console", "settings"]

Command = Callable[..., Any]

settings = click.option(
    "-s", "--set", "bindings", multiple=True, metavar="NAME.PARAM=VALUE", help="Override a setting; may be repeated."
)
device = click.option("--device", default=None, metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")


def common(command: Command) -> Command:
    """The options of every verb: plug-ins are loaded and the log is set up before the verb runs."""

    @click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Load a plug-in; may be repeated.")
    @click.option("-v", "--verbose", is_flag=True, help="Say what is done on the way.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args: Any, plugins: Sequence[str], verbose: bool, debug: bool, **options: Any) -> Any:
        _log_to_terminal(verbose)
        if plugins:
            from matx.plugins import import_all, load_plugin

            import_all()
            for plugin in plugins:
                load_plugin(Path(plugin) if Path(plugin).exists() else plugin)
        return command(*args, **options)

    return wrapped


@functools.cache
def console() -> Console:
    """Where progress and warnings are shown: standard error, so that standard output holds results alone."""
    from rich.console import Console
    from rich.emoji import Emoji

    Emoji.replace(":x:")  # rich imports its table at first use; a Ctrl-C in the middle of that import would be lost
    return Console(stderr=True, emoji=False)


def results_console() -> Console:
    """Where tables of results go: standard output, wide where nobody sees it as it is printed."""
    from rich.console import Console

    stdout = Console()
    return stdout if stdout.is_terminal else Console(width=200)


def load(files: Sequence[str], bindings: Sequence[str], seed: int | None = None) -> Loaded:
    """The experiment of gin files and overrides."""
    from matx.config import load_experiment

    return load_experiment(list(files), [*bindings, *([] if seed is None else [f"Experiment.seed={seed}"])])


class _Terminal(logging.Handler):
    """Shows log records beside the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        console().print(f"{level}{record.getMessage()}", markup=False, highlight=False, soft_wrap=True)


def _log_to_terminal(verbose: bool) -> None:
    logger = logging.getLogger("matx")
    for old in [handler for handler in logger.handlers if isinstance(handler, _Terminal)]:
        logger.removeHandler(old)
    handler = _Terminal(logging.INFO if verbose else logging.WARNING)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
