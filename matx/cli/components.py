"""`matx list` and `matx show`: what is registered, and what one thing is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from matx.cli.options import common, load, settings
from matx.errors import RegistrationError, did_you_mean

__all__ = ["listing", "named_component", "nouns", "show"]

RECIPES = "recipes"


@click.command("list")
@click.argument("kind", required=False, metavar="[KIND]")
@common
def listing(kind: str | None) -> int:
    """List the registered components and the packaged recipes, or those of one KIND."""
    from matx.config import packaged_recipes
    from matx.plugins import import_all
    from matx.registration import REGISTRIES

    import_all()
    kinds = (*REGISTRIES, RECIPES)
    if kind is not None and kind not in kinds:
        raise RegistrationError(f"list: got {kind!r}, allowed: {', '.join(kinds)}{did_you_mean(kind, kinds)}")
    for one in kinds if kind is None else (kind,):
        if one == RECIPES:
            _section(one, {name: _recipe_line(name) for name in packaged_recipes()}, heading=kind is None)
        else:
            registry = REGISTRIES[one]
            _section(one, {f"{one}.{name}": _first_line(registry[name]) for name in registry}, heading=kind is None)
    return 0


def _section(title: str, lines: dict[str, str], *, heading: bool) -> None:
    if heading:
        click.secho(title, bold=True)
    width = max((len(name) for name in lines), default=0)
    for name, line in lines.items():
        click.echo(f"{'  ' if heading else ''}{name:<{width}}  {line}".rstrip())
    if heading:
        click.echo()


def _first_line(component: type[Any]) -> str:
    return (inspect.getdoc(component) or "").partition("\n")[0]


def _recipe_line(name: str) -> str:
    """The first line of a recipe's head."""
    from matx.config import find_recipe

    first = find_recipe(name).read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else ""


@click.command()
@click.argument("what", metavar="KIND.NAME|NOUN|FILE")
@settings
@common
def show(what: str, bindings: tuple[str, ...]) -> int:
    """Show a component or noun (source, options, defaults), or a gin FILE: flattened, and every value behind it."""
    found = named_component(what)
    if found is not None or what in nouns():
        if bindings:
            raise click.UsageError("-s belongs to a gin file, not to a component")
        _show_class(what, nouns()[what] if found is None else _component(*found))
        return 0
    loaded = load([what], bindings)
    from matx.runtime.journal import lines

    click.echo(loaded.text.rstrip())
    click.echo("\n# resolved:")
    for line in lines(loaded.resolved):
        click.echo(f"# {line}")
    return 0


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


def _component(kind: str, name: str) -> type[Any]:
    from matx.registration import REGISTRIES

    return REGISTRIES[kind][name]


def _show_class(name: str, component: type[Any]) -> None:
    from matx.config import describe
    from matx.registration import place

    click.secho(name, bold=True)
    click.echo(f"{place(component)}\n")
    click.echo(f"{inspect.getdoc(component) or ''}\n")
    options = describe(component)
    click.echo("options" if options else "no options")
    for option in options:
        default = "  (required)" if option.default == "required" else f" = {option.default}"
        click.echo(f"  {name}.{option.parameter}: {option.type}{default}")
        if option.doc:
            click.echo(f"      {option.doc}")
