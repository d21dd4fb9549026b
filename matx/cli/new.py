"""`matx new`: a first file of one's own, and its test."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from matx.cli import completing
from matx.cli.options import common, json_option, say, show_json

__all__ = ["new"]


@click.command("new")
@click.argument("kind", metavar="KIND", shell_complete=completing.kinds)
@click.argument("name", metavar="NAME")
@click.option("--out", type=click.Path(path_type=Path), default=Path(), metavar="FOLDER", help="Otherwise here.")
@json_option
@common
def new(kind: str, name: str, out: Path, as_json: bool) -> int:
    """Write NAME.py, a commented component of KIND (attack, strategy, ...) that works as written, and test_NAME.py.

    The component is the example of its kind in the documentation, under its new name; it keeps the contracts of the
    kind, as the test and `matx check` say. Nothing that exists is written over.
    """
    from matx.scaffold import kind_of, scaffold, write

    made = scaffold(kind_of(kind), name, out)
    write(made)
    component = f"{made.kind}.{made.name}"
    commands = {
        "check": shlex.join(["matx", "check", component, "--plugin", str(made.component)]),
        "test": shlex.join(["pytest", str(made.test)]),
    }
    if as_json:
        show_json({"component": component, "written": [str(made.component), str(made.test)], **commands})
        return 0
    say(f"written  {made.component}, {made.test}")
    for word, command in commands.items():
        say(f"{word:<7}  {command}")
    say(f"use      `import {made.name}` in a gin file beside it, then @{component}()")
    return 0
