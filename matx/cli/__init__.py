"""The command line, a verb a file. Nothing here imports torch before a verb needs it."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence

import click

from matx import __version__
from matx.cli.check import check
from matx.cli.compare import compare
from matx.cli.components import listing
from matx.cli.eval import evaluate
from matx.cli.run import run
from matx.cli.show import show
from matx.cli.tune import tune
from matx.errors import MatxError

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="matx")
def cli() -> None:
    """Mutual adversarial training, declared in gin: peers that attack themselves and teach each other."""


for verb in (run, tune, evaluate, compare, listing, show, check):
    cli.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0, 2 for bad input, 1 for a defect of matx, 130 after Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        code = cli.main(given, prog_name="matx", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except MatxError as error:
        return _refused(str(error), debug=debug)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        hint = "" if debug else "; this is a defect of matx or of a plug-in: --debug shows where"
        click.echo(f"Error: {type(error).__name__}: {error}{hint}", err=True)
        if debug:
            traceback.print_exc()
        return 1
    finally:
        if arguments is None:  # the program is over: nothing is left to stop but the interpreter's own end
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code if isinstance(code, int) else 0


def _refused(sentence: str, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"Error: {sentence}", err=True)
    return 2
