"""Several processes of one command: started here, or by torchrun; only the first of them shows anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import click

from matx.cli.options import spelled

if TYPE_CHECKING:
    from matx.distributed import World

__all__ = ["follower_is_silent", "joined", "launched", "processes"]

processes = click.option(
    "--processes", type=int, metavar="N", help="Share the work by so many processes of this machine."
)


@contextmanager
def follower_is_silent() -> Iterator[None]:
    """Only rank 0 writes to the terminal; what another rank has to say is in its log, or said by rank 0."""
    with ExitStack() as stack:
        if os.environ.get("RANK", "0") != "0":
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield


@contextmanager
def joined(device: str | None) -> Iterator[World]:
    """The processes that torchrun has started, or this one alone."""
    from matx import distributed

    with distributed.joined(device or "auto") as world:
        yield world


def launched(count: int) -> int:
    """The same command in so many processes; its exit code."""
    from matx import distributed

    verb = str(click.get_current_context().command.name)
    return distributed.launch(count, [verb, *spelled(without=("processes",))])
