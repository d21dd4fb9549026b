"""Files and overrides -> every statement in order, with its place; imports are run, includes followed."""

from __future__ import annotations

import codecs
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matx.config.parsing import parse
from matx.config.recipes import find_recipe, include_candidates, packaged_recipes, show_path
from matx.config.statements import Binding, Import, Include, Place, Problems
from matx.consent import in_matx_folder, refusal
from matx.errors import ConfigError, PluginError, did_you_mean
from matx.plugins import load_plugin

__all__ = ["Source", "read"]

_LOOKED = "looked beside the including file, in the working directory and among the packaged recipes"


@dataclass
class Source:
    """What was read."""

    bindings: list[Binding] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    files: dict[Path, str] = field(default_factory=dict)
    """{resolved file: as shown}, in the order of reading."""
    given: list[str] = field(default_factory=list)
    """The files given, as shown."""
    own: bool = False
    """Whether the user gave the files to be run, so that their imports are meant."""


def read(files: Sequence[str | Path], overrides: Sequence[str], problems: Problems, *, own: bool = False) -> Source:
    """All statements of the files, then of the overrides."""
    source = Source(own=own)
    for root, name in enumerate(files):
        try:
            path = find_recipe(name)
        except ConfigError as error:
            problems.incomplete = True
            problems.add(Place(str(name), 1, root), error.problems[0].removeprefix(f"{name}: "))
            continue
        shown = show_path(path)
        source.given.append(shown)
        if path.resolve() in source.files:
            problems.add(Place(shown, 1, root), "given twice, or included by a file given before; give it once")
        else:
            _read_file(path, Place(shown, 1, root), source, problems, ())
    for text in overrides:
        _read_override(text, Place(text, 0, len(files)), source, problems)
    _refuse_duplicates(source.bindings, problems)
    return source


def _read_file(path: Path, place: Place, source: Source, problems: Problems, above: tuple[Path, ...]) -> None:
    source.files[path.resolve()] = place.file
    if path.suffix == ".py":
        problems.incomplete = True
        problems.add(place, f"got Python, allowed: a gin file; `matx check KIND.NAME --plugin {place.file}` checks it")
        return
    text = _text(path)
    if text is None:
        problems.incomplete = True
        problems.add(place, "not a text file in UTF-8; allowed: gin statements")
        return
    for statement in parse(text, place, problems):
        if isinstance(statement, Binding):
            source.bindings.append(statement)
        elif isinstance(statement, Import):
            _import(statement, path, source, problems)
        else:
            _include(statement, path, source, problems, (*above, path.resolve()))


def _text(path: Path) -> str | None:
    """The file's text, or None where it is binary or unreadable."""
    try:
        raw = path.read_bytes()
        text = raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return None if "\0" in text else text


def _import(statement: Import, path: Path, source: Source, problems: Problems) -> None:
    if statement.module == "gin" or statement.module.startswith(("gin.", "__gin__")):
        problems.add(statement.place, f"import {statement.module}: not needed; allowed: a plug-in's module")
        return
    near = (path.resolve().parent, Path.cwd())
    meant = source.own and not in_matx_folder(path)
    refused = None if meant else refusal(f"import {statement.module}", statement.module, near)
    if refused is not None:
        problems.incomplete = problems.unloaded = True
        problems.add(statement.place, refused)
        return
    try:
        load_plugin(statement.module, near=near)
    except PluginError as error:
        problems.incomplete = problems.unloaded = True
        problems.add(statement.place, str(error))
    else:
        if statement.module not in source.imports:
            source.imports.append(statement.module)


def _include(statement: Include, path: Path, source: Source, problems: Problems, above: tuple[Path, ...]) -> None:
    candidates = include_candidates(statement.file, path)
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        problems.incomplete = True
        siblings = [file.name for file in path.resolve().parent.glob("*.gin")]
        parts = [f"{name}.gin" for name in packaged_recipes()]
        near = did_you_mean(statement.file, [*siblings, *parts])
        problems.add(statement.place, f"include {statement.file!r}: no such file{near}; {_LOOKED}")
    elif found.resolve() in above:
        loop = [*above[above.index(found.resolve()) :], found.resolve()]
        problems.incomplete = True
        problems.add(statement.place, f"include loop: {' -> '.join(source.files[file] for file in loop)}")
    elif found.resolve() not in source.files:  # a part that several files include is read once, where it comes first
        place = Place(show_path(found), 1, statement.place.root, included=True)
        _read_file(found, place, source, problems, above)


def _read_override(text: str, place: Place, source: Source, problems: Problems) -> None:
    everywhere = text.strip().startswith("*/")
    if not text.strip():
        problems.add(place, "got nothing, allowed: NAME.PARAMETER=VALUE")
    statements = parse(text.strip()[2:] if everywhere else text.strip(), place, problems)
    for statement in statements:
        if not isinstance(statement, Binding):
            problems.add(place, "an override sets values; write include and import into a file (or use --plugin)")
        elif everywhere and (statement.scope or statement.is_macro):
            problems.add(place, f"got a scope or macro behind */, allowed: '*/{statement.name}.PARAMETER=VALUE'")
        else:
            source.bindings.append(dataclasses.replace(statement, everywhere=everywhere))


def _refuse_duplicates(bindings: Sequence[Binding], problems: Problems) -> None:
    """Twice in one file (or among the overrides) is a mistake; gin would silently keep the last."""
    first: dict[tuple[object, ...], Binding] = {}
    for binding in bindings:
        place = binding.place
        key = ("-s" if place.is_override else place.file, place.included, *binding.key)
        earlier = first.setdefault(key, binding)
        if earlier is not binding:
            problems.add(place, f"{binding.label} is set twice, first at {earlier.place}; gin would keep the last")
