"""`matx list`: what is registered; and what a word of the command line names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from matx.cli.options import common, json_option, say, show_json
from matx.errors import RegistrationError, did_you_mean

__all__ = ["listing", "named_component", "nouns"]

RECIPES = "recipes"


@click.command("list")
@click.argument("kind", required=False, metavar="[KIND]")
@json_option
@common
def listing(kind: str | None, as_json: bool) -> int:
    """List the registered components and the packaged recipes, or those of one KIND."""
    from matx.registration import REGISTRIES

    kinds = (*REGISTRIES, RECIPES)
    if kind is not None and kind not in kinds:
        raise RegistrationError(f"list: got {kind!r}, allowed: {', '.join(kinds)}{did_you_mean(kind, kinds)}")
    found = {one: _lines(one) for one in kinds if kind in (None, one)}
    if as_json:
        show_json(found)
        return 0
    for one, lines in found.items():
        prefix = "" if one == RECIPES else f"{one}."
        _section(one, {f"{prefix}{name}": line for name, line in lines.items()}, heading=kind is None)
    return 0


def _lines(kind: str) -> dict[str, str]:
    """{name: first line of what it says of itself} of a kind, or of the recipes."""
    from matx.config import packaged_recipes
    from matx.registration import REGISTRIES

    if kind == RECIPES:
        return {name: _recipe_line(name) for name in packaged_recipes()}
    return {name: _first_line(REGISTRIES[kind][name]) for name in REGISTRIES[kind]}


def _section(title: str, lines: dict[str, str], *, heading: bool) -> None:
    if heading:
        click.secho(title, bold=True)
    width = max((len(name) for name in lines), default=0)
    for name, line in lines.items():
        say(f"{'  ' if heading else ''}{name:<{width}}  {line}".rstrip())
    if heading:
        say()


def _first_line(component: type[Any]) -> str:
    return (inspect.getdoc(component) or "").partition("\n")[0]


def _recipe_line(name: str) -> str:
    """The first line of a recipe's head."""
    from matx.config import find_recipe

    first = find_recipe(name).read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def named_component(what: str) -> tuple[str, str] | None:
    """(kind, name) of `attacks.pgd`; None for anything that names a file. Unknown names are refused."""
    from matx.plugins import import_all
    from matx.registration import REGISTRIES

    kind, dot, name = what.partition(".")
    if what.endswith(".gin") or not what.replace(".", "").isidentifier() or Path(what).exists():
        return None
    import_all()
    if not dot:
        _refuse_strange_word(what)
        return None
    if kind not in REGISTRIES:
        raise RegistrationError(
            f"{what}: got the kind {kind!r}, allowed: {', '.join(REGISTRIES)}{did_you_mean(kind, REGISTRIES)}"
        )
    REGISTRIES[kind][name]
    return kind, name


def _refuse_strange_word(word: str) -> None:
    """Refuse a word that names neither a gin file nor a noun, with the nearest thing of any sort."""
    from matx.config import packaged_recipes
    from matx.registration import REGISTRIES

    recipes = packaged_recipes()
    if word in nouns() or word in recipes or Path(f"{word}.gin").is_file():
        return
    names = {name: f"{kind}.{name}" for kind, registry in REGISTRIES.items() for name in registry}
    if word in (*REGISTRIES, RECIPES):
        raise RegistrationError(f"{word}: is a kind, allowed: one of its components; `matx list {word}` shows them")
    close = get_close_matches(word, [*names, *nouns(), *recipes], n=1)
    near = f"; did you mean {names.get(close[0], close[0])!r}?" if close else ""
    raise RegistrationError(f"{word}: no such gin file, component or noun{near}; `matx list` shows what there is")


def nouns() -> Mapping[str, type[Any]]:
    """Experiment, Peer, ThreatModel, ...: what gin files set beside components."""
    from matx.config import NOUNS

    return NOUNS
