"""Options that several verbs share, and what they set up."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

import click
from click.core import ParameterSource

from matx.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from matx.config import Loaded
    from matx.runtime.progress import Display

__all__ = [
    "common",
    "device",
    "display",
    "grouped",
    "json_option",
    "load",
    "note",
    "results_console",
    "say",
    "settings",
    "show_json",
    "spelled",
]

Command = Callable[..., Any]

settings = click.option(
    "-s", "--set", "bindings", multiple=True, metavar="NAME.PARAM=VALUE", help="Override a setting; may be repeated."
)
device = click.option("--device", default=None, metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
_QUIET = "matx.quiet"


def common(command: Command) -> Command:
    """The options of every verb: plug-ins are loaded and the log is set up before the verb runs."""

    @click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Load a plug-in; may be repeated.")
    @click.option("--trust", is_flag=True, help="Run the plug-ins, and follow the links, that files and folders name.")
    @click.option("-v", "--verbose", is_flag=True, help="Say what is done on the way.")
    @click.option("-q", "--quiet", is_flag=True, help="Results and errors alone: no progress, no notes, no warnings.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, plugins: Sequence[str], trust: bool, verbose: bool, quiet: bool, debug: bool, **options: Any
    ) -> Any:
        if verbose and quiet:
            raise click.UsageError("-v says more, -q says less: leave one of them away")
        click.get_current_context().meta[_QUIET] = quiet
        _log_to_terminal(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
        if not plugins and not trust:  # so that nothing is imported for it
            return command(*args, **options)
        from matx.consent import Consent, consenting
        from matx.plugins import load_plugin

        for plugin in plugins:
            load_plugin(Path(plugin) if Path(plugin).exists() else plugin)
        with consenting(Consent(plugins=plugins, trust=trust)):
            return command(*args, **options)

    return wrapped


def grouped(name: str, group: type[Any], *options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Declare options that the verb takes as one argument `name`: a dataclass with a field for each of them."""

    def declare(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            taken = {field.name: given.pop(field.name) for field in fields(group)}
            return command(**given, **{name: group(**taken)})

        declared: Command = wrapped
        for option in reversed(options):
            declared = option(declared)
        return declared

    return declare


def spelled(without: Collection[str]) -> list[str]:
    """The words of the command as it was called, but for these parameters."""
    context = click.get_current_context()
    words: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        if name not in without and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            words += _spelled(parameter, context.params[name])
    return words


def _spelled(parameter: click.Parameter, value: Any) -> list[str]:
    values = value if isinstance(value, tuple) else (value,)
    if not isinstance(parameter, click.Option):
        return [str(one) for one in values]
    if parameter.is_flag:
        return [(parameter.opts if value else parameter.secondary_opts)[-1]]
    return [word for one in values for word in (parameter.opts[-1], str(one))]


def quiet() -> bool:
    """Whether -q was given."""
    return bool(click.get_current_context().meta[_QUIET])


def display() -> Display:
    """Where a verb shows its progress: nowhere under -q."""
    from matx.runtime.progress import Display

    return Display(None if quiet() else console())


def note(sentence: str) -> None:
    """Say something beside the results; nothing under -q."""
    if not quiet():
        say(sentence, err=True)


def say(text: str = "", *, err: bool = False) -> None:
    """Print text, whatever names from files are in it."""
    click.echo(printable(text), err=err)


def show_json(document: Any) -> None:
    """One JSON document on standard output."""
    say(json.dumps(document, indent=2, allow_nan=False))


@functools.cache
def console() -> Console:
    """Where progress and warnings are shown: standard error, so that standard output holds results alone."""
    from rich.console import Console
    from rich.emoji import Emoji

    Emoji.replace(":x:")  # rich imports its table at first use; a Ctrl-C in the middle of that import would be lost
    return Console(file=cast("IO[str]", _StandardError()), emoji=False)


class _StandardError:
    """Standard error; where its terminal or pipe is gone nothing is shown, and no work stops for it."""

    gone = False

    def write(self, text: str) -> int:
        self._do(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._do(lambda stream: stream.flush())

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    @property
    def _stream(self) -> TextIO:
        """Rich puts a stream in the place of standard error while it draws, which ends here in turn."""
        found: TextIO = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
        return found

    def _do(self, what: Callable[[TextIO], object]) -> None:
        if not self.gone:
            try:
                what(self._stream)
            except OSError:
                self.gone = True


def results_console() -> Console:
    """Where tables of results go: standard output, wide where it is neither a terminal nor given a width (COLUMNS)."""
    from rich.console import Console

    stdout = Console()
    return stdout if stdout.is_terminal or "COLUMNS" in os.environ else Console(width=200)


def load(files: Sequence[str], bindings: Sequence[str], seed: int | None = None, *, own: bool = False) -> Loaded:
    """The experiment of gin files and overrides; `own`: the user gave the files to be run."""
    from matx.config import load_experiment

    return load_experiment(list(files), [*bindings, *([] if seed is None else [f"Experiment.seed={seed}"])], own=own)


class _Terminal(logging.Handler):
    """Shows log records beside the progress bars; without a terminal not those that progress has said in a line."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "progress", False) and not console().is_terminal:
            return
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        console().print(printable(f"{level}{record.getMessage()}"), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def logger_kept() -> Iterator[None]:
    """Leave the logger as it was, for a program that calls `main` and goes on."""
    logger = logging.getLogger("matx")
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


def _log_to_terminal(level: int) -> None:
    logger = logging.getLogger("matx")
    logger.addHandler(_Terminal(level))
    logger.setLevel(logging.INFO)
    logger.propagate = False
