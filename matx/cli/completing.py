"""What a shell offers for a word: gin files, recipes, components, kinds, runs, suites, peers; nothing is built."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

__all__ = ["files", "kinds", "peers", "runs", "suites", "things"]

Offered = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_HOMES = ("runs", "evals", "exports", "studies")
"""Where folders go that nobody named."""
_SIGNS = ("config.gin", "results.json", "model.json")
"""A folder that has one of these is a run, an evaluation or an export."""


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Gin files, and packaged recipes by name."""
    from matx.config import packaged_recipes

    return _offered(incomplete, _paths(incomplete, "*.gin"), packaged_recipes())


def kinds(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The words for one component of each kind."""
    from matx.scaffold import words

    return _offered(incomplete, words())


def things(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Components, nouns, gin files, recipes, and runs."""
    from matx.cli.components import nouns
    from matx.config import packaged_recipes
    from matx.registration import REGISTRIES

    components = [f"{kind}.{name}" for kind, registry in REGISTRIES.items() for name in registry]
    return _offered(
        incomplete, components, nouns(), _paths(incomplete, "*.gin"), packaged_recipes(), _folders(incomplete)
    )


def runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Run folders, evaluations and exports: those below the working directory, and those of the zoo."""
    import matx

    zoo = (Path(matx.__file__).parent / "zoo").glob("*/model.json")
    return _offered(incomplete, _folders(incomplete), [f"zoo:{path.parent.name}" for path in sorted(zoo)])


def suites(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The packaged suites, and gin files."""
    from matx.config import packaged_recipes

    packaged = [name.removeprefix("suites/") for name in packaged_recipes() if name.startswith("suites/")]
    return _offered(incomplete, packaged, _paths(incomplete, "*.gin"))


def peers(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The peers of the run that the command names already."""
    from matx.errors import RunError
    from matx.evaluation import find_exported

    run = str(context.params.get("run") or next(iter(context.args), ""))  # click leaves it there before a lone --peer
    try:
        exported = find_exported(run) if run else None
    except RunError:
        return []
    if exported is not None:
        return _offered(incomplete, _keys(exported.about))
    return _offered(incomplete, _keys(Path(run) / "resolved.json"))


def _keys(path: Path) -> list[str]:
    """The names below `peers` in a file; none where it cannot be read."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return list(content["peers"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _folders(incomplete: str) -> Iterator[str]:
    """Folders that hold a run, an evaluation or an export: where they usually lie, and where the word leads."""
    places = [f"{home}/" for home in _HOMES] if "/" not in incomplete else []
    for place in [*places, _place(incomplete)]:
        for path in sorted(Path(place or ".").iterdir()) if Path(place or ".").is_dir() else ():
            if any((path / sign).is_file() for sign in _SIGNS):
                yield f"{place}{path.name}"


def _paths(incomplete: str, pattern: str) -> Iterator[str]:
    """Files of a pattern where the word leads, and the folders there."""
    place = _place(incomplete)
    home = Path(place or ".")
    if home.is_dir():
        yield from (f"{place}{path.name}" for path in sorted(home.glob(pattern)))
        yield from (f"{place}{path.name}/" for path in sorted(home.iterdir()) if path.is_dir())


def _place(incomplete: str) -> str:
    """The folder that the word names so far, as it is written."""
    head, slash, _ = incomplete.rpartition("/")
    return head + slash


def _offered(incomplete: str, *groups: Iterable[str]) -> list[CompletionItem]:
    """Those that begin so; hidden ones where the word begins with a dot."""
    known = dict.fromkeys(name for group in groups for name in group)
    return [
        CompletionItem(name)
        for name in known
        if name.startswith(incomplete) and (incomplete.rpartition("/")[2].startswith(".") or not _hidden(name))
    ]


def _hidden(name: str) -> bool:
    return name.rstrip("/").rpartition("/")[2].startswith(".")
