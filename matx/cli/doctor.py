"""`matx doctor`: what this machine offers, in a few lines to paste into a question."""

from __future__ import annotations

import click

from matx.cli.options import common, json_option, say, show_json

__all__ = ["doctor"]


@click.command("doctor")
@json_option
@common
def doctor(as_json: bool) -> int:
    """Say what this machine offers: versions, devices, precision, threads, plug-ins, data, disk. Nothing is written."""
    from matx.runtime.health import findings

    found = findings()
    if as_json:
        show_json(found)
    else:
        width = max(map(len, found))
        for what, line in found.items():
            say(f"{what:<{width}}  {line}")
    return 0
