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
from matx.cli.export import export
from matx.cli.options import say
from matx.cli.report import report
from matx.cli.run import run
from matx.cli.show import show
from matx.cli.tune import tune
from matx.errors import MatxError

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="matx")
def cli() -> None:
    """Mutual adversarial training, declared in gin: peers that attack themselves and teach each other."""


for verb in (run, tune, evaluate, compare, export, report, listing, show, check):
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
        return _failed(error, 2, debug=debug)
    except (click.Abort, KeyboardInterrupt) as stop:
        how = str(stop.__cause__ or "")  # click raises its own from what says how to continue
        say(f"stopped; {how}" if how else "stopped", err=True)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        return _failed(error, 1, debug=debug)
    finally:
        if arguments is None:  # the program is over: nothing is left to stop but the interpreter's own end
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code if isinstance(code, int) else 0


def _failed(error: Exception, code: int, *, debug: bool) -> int:
    from matx.runtime.log import explained

    if debug:
        traceback.print_exc()
    say(f"Error: {explained(error)}", err=True)
    return code
