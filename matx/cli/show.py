"""`matx show`: what one thing is, a component, a noun, a gin file or a run."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from matx.cli import completing
from matx.cli.components import named_component, nouns
from matx.cli.options import common, json_option, load, say, settings, show_json

__all__ = ["show"]


@click.command()
@click.argument("what", metavar="KIND.NAME|NOUN|FILE|RUN", shell_complete=completing.things)
@click.option(
    "--diff",
    "other",
    metavar="OTHER",
    help="Of a FILE or RUN: what OTHER, another FILE or RUN, has otherwise.",
    shell_complete=completing.things,
)
@settings
@json_option
@common
def show(what: str, other: str | None, bindings: tuple[str, ...], as_json: bool) -> int:
    """Show a component or noun (source, options, defaults), or the experiment of a gin FILE or a RUN folder.

    An experiment is shown flattened, with every value behind it; that of a RUN as it was run. --diff shows the values
    in which two experiments differ.
    """
    component = _class(what)
    if other is not None and (component is not None or _class(other) is not None):
        raise click.UsageError("--diff compares experiments, FILE or RUN, not components")
    if bindings and (component is not None or Path(what).is_dir()):
        raise click.UsageError("-s belongs to a gin file, not to a component or a run")
    if component is not None:
        document, text = _described(what, component), _class_text
    elif other is not None:
        document, text = _difference(_experiment(what, bindings), _experiment(other, bindings)), _difference_text
    else:
        document, text = _experiment(what, bindings), _experiment_text
    if as_json:
        show_json(document)
    else:
        text(document)
    return 0


def _class(what: str) -> type[Any] | None:
    """The component or noun of this name."""
    from matx.registration import REGISTRIES

    found = named_component(what)
    if found is None:
        return nouns().get(what)
    kind, name = found
    return REGISTRIES[kind][name]


def _described(name: str, component: type[Any]) -> dict[str, Any]:
    from matx.config import describe
    from matx.registration import place

    return {
        "name": name,
        "source": place(component),
        "doc": inspect.getdoc(component) or "",
        "options": [asdict(option) for option in describe(component)],
    }


def _class_text(document: Mapping[str, Any]) -> None:
    name, options = document["name"], document["options"]
    click.secho(name, bold=True)
    say(f"{document['source']}\n")
    say(f"{document['doc']}\n")
    say("options" if options else "no options")
    for option in options:
        default = "  (required)" if option["default"] == "required" else f" = {option['default']}"
        say(f"  {name}.{option['parameter']}: {option['type']}{default}")
        if option["doc"]:
            say(f"      {option['doc']}")


def _experiment(what: str, bindings: Sequence[str]) -> dict[str, Any]:
    return _run(Path(what)) if Path(what).is_dir() else _file(what, bindings)


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The values in which two experiments differ, by path; None: the other has no such setting."""
    from matx.runtime.journal import lines

    sides = [dict(line.split(" = ", 1) for line in lines(side["resolved"])) for side in (first, second)]
    paths = [path for path in dict.fromkeys([*sides[0], *sides[1]]) if sides[0].get(path) != sides[1].get(path)]
    return {
        "first": first["name"],
        "second": second["name"],
        "differences": {path: [side.get(path) for side in sides] for path in paths},
    }


def _difference_text(document: Mapping[str, Any]) -> None:
    if not document["differences"]:
        say(f"{document['first']} and {document['second']} are the same experiment")
    for path, (first, second) in document["differences"].items():
        say(path)
        say(f"  - {'(no such setting)' if first is None else first}")
        say(f"  + {'(no such setting)' if second is None else second}")


def _file(file: str, bindings: Sequence[str]) -> dict[str, Any]:
    from matx.runtime.files import plain

    loaded = load([file], bindings)
    return {"name": loaded.name, "config": loaded.text, "resolved": plain(loaded.resolved)}


def _run(path: Path) -> dict[str, Any]:
    """What was written when the run began; nothing is built, so that plug-ins and data may be gone."""
    from matx.errors import RunError
    from matx.runtime.folder import open_folder
    from matx.runtime.stored import read_environment

    folder = open_folder(path)
    values = folder.resolved.with_suffix(".json")
    try:
        resolved = json.loads(values.read_text(encoding="utf-8"))
        config = folder.config.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunError(f"{values}: cannot be read ({error}); allowed: a run folder as matx wrote it") from None
    return {"name": read_environment(folder)["experiment"], "config": config, "resolved": resolved}


def _experiment_text(document: Mapping[str, Any]) -> None:
    from matx.runtime.journal import lines

    say(document["config"].rstrip())
    say("\n# resolved:")
    for line in lines(document["resolved"]):
        say(f"# {line}")
