"""The command line, a verb a file. Nothing here imports torch before a verb needs it."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from matx import __version__
from matx.cli.check import check
from matx.cli.compare import compare
from matx.cli.components import listing
from matx.cli.doctor import doctor
from matx.cli.eval import evaluate
from matx.cli.export import export
from matx.cli.new import new
from matx.cli.options import logger_kept, say
from matx.cli.processes import follower_is_silent
from matx.cli.report import report
from matx.cli.run import run
from matx.cli.show import show
from matx.cli.tune import tune
from matx.errors import MatxError
from matx.runtime.interrupt import STOPS, interruptible

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="matx")
def cli() -> None:
    """Mutual adversarial training, declared in gin: peers that attack themselves and teach each other."""


for verb in (run, tune, evaluate, compare, export, report, doctor, new, listing, show, check):
    cli.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0, 2 for bad input and faults of the machine, 1 for a defect of matx.

    After a signal it is 128 and its number: 130 after Ctrl-C, 143 after SIGTERM.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    with follower_is_silent():
        return _main(given, debug=debug, ends=arguments is None)


def _main(given: list[str], *, debug: bool, ends: bool) -> int:
    try:
        with interruptible(), logger_kept():
            code = cli.main(given, prog_name="matx", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except MatxError as error:
        return _failed(error, 2, debug=debug)
    except (click.Abort, KeyboardInterrupt) as stop:
        return _stopped(stop.__cause__ or stop)  # click raises its own from what says how to continue
    except BrokenPipeError:
        return 1
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and _raised_in(error) in _PRINTERS:
            return error.code if isinstance(error.code, int) else 1
        if isinstance(error, OSError) and isinstance(error.__context__, KeyboardInterrupt):
            return _stopped(error.__context__)  # click could not write of it: the terminal is gone
        from matx.runtime.log import machine_fault

        return _failed(error, 1 if machine_fault(error) is None else 2, debug=debug)
    finally:
        if ends:  # the program is over: nothing is left to stop but the interpreter's own end
            for number in STOPS:
                signal.signal(number, signal.SIG_IGN)
            _forget_lost_terminal()
    return code if isinstance(code, int) else 0


_PRINTERS = ("click", "rich")
"""They call sys.exit where nobody reads on (`matx list | head -1`) and, as click, after completing a word for a shell;
any other SystemExit is a component's."""


def _raised_in(error: BaseException) -> str:
    """The package whose code raised an error."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _stopped(stop: BaseException) -> int:
    how, number = str(stop), getattr(stop, "number", None) or signal.SIGINT
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    _say(f"stopped{by}; {how}" if how else f"stopped{by}")
    return 128 + number


def _forget_lost_terminal() -> None:
    """Python ends with a code of its own where it cannot write the rest of standard error."""
    try:
        sys.stderr.flush()
    except OSError:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115, it is open until the end


def _say(sentence: str) -> None:
    with suppress(OSError):  # of a terminal that is gone
        say(sentence, err=True)


def _failed(error: BaseException, code: int, *, debug: bool) -> int:
    from matx.runtime.log import explained

    if debug:
        traceback.print_exc()
    _say(f"Error: {explained(error)}")
    return code
