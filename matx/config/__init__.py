"""The only place that imports gin: files and overrides are read, checked, built into an Experiment, and forgotten."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matx.config.building import build
from matx.config.checking import Program, check
from matx.config.describing import Row, describe
from matx.config.effects import Reach, find_circle, find_idle, summarised, walk
from matx.config.instances import bindings_of, modules_of, naming
from matx.config.names import NOUNS, lookup
from matx.config.reading import Source, read
from matx.config.recipes import find_recipe, packaged_recipes
from matx.config.statements import Place, Problems
from matx.config.writing import flatten, resolve
from matx.errors import ConfigError, OptionError
from matx.experiment import Experiment
from matx.plugins import import_all, load_plugin, plugin_of

__all__ = [
    "NOUNS",
    "Loaded",
    "Row",
    "describe",
    "find_recipe",
    "load_experiment",
    "loaded_from",
    "lookup",
    "packaged_recipes",
]


log = logging.getLogger("matx")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A configuration, read, checked and built."""

    experiment: Experiment
    text: str
    """One gin file that gives the same experiment, overrides applied."""
    resolved: Mapping[str, Any]
    """Every value, defaults too, as plain data; `@` names a component."""
    name: str
    """The first file's name without `.gin`."""
    files: tuple[str, ...] = ()
    """What was read, includes too, as shown in messages."""
    imports: tuple[str, ...] = ()
    """The plug-ins that it needs, by module: loaded first, so that `text` may be read in another process."""
    warnings: tuple[str, ...] = ()
    """What the user should know: bindings without effect, those that one replacement makes idle as one line."""
    unused: tuple[str, ...] = ()
    """`file:line: sentence` for each binding without effect of an included part or was overridden."""


def load_experiment(files: Sequence[str | Path], bindings: Sequence[str] = (), *, own: bool = False) -> Loaded:
    """Read gin files (paths, or names of packaged recipes) and overrides (`'linf/ThreatModel.eps=0.1'`) in that order.

    ConfigError lists every problem as `file:line: what, got, allowed, did you mean`. Installed plug-ins are imported,
    then those that the files import: where the files are the user's `own` and lie in no folder of a run or study, else
    those that the user has imported or consented to (`matx.consent`). gin's parser reads; its global configuration is
    neither read nor changed.
    """
    if isinstance(files, (str, Path)):
        files = [files]
    if not files:
        raise ConfigError([f"no gin file given; allowed: a file, or a recipe: {', '.join(packaged_recipes())}"])
    import_all()
    problems = Problems()
    source = read(files, bindings, problems, own=own)
    program = check(source.bindings, problems)
    reach = walk(program)
    find_circle(program, reach, problems)
    built = None if reach.circle else build(program, problems, Place(str((*source.given, *files)[0]), 1))
    unsure = problems.incomplete or problems.hidden or bool(reach.circle)
    unused = {} if unsure else find_idle(source.bindings, program, reach, problems)
    if problems.found or not isinstance(built, Experiment):
        raise ConfigError(problems.lines()) from (built if isinstance(built, Exception) else None)
    warnings = summarised(unused, source.bindings, program)
    for sentence in unused.values():
        if sentence not in warnings:
            log.info("%s", sentence)
    imports = _imports(source, reach)
    return Loaded(
        experiment=built,
        text=_flattened(source, program, reach, imports, len(bindings)),
        resolved=MappingProxyType(resolve(built)),
        name=Path(source.given[0]).stem,
        files=tuple(source.files.values()),
        imports=imports,
        warnings=tuple(warnings),
        unused=tuple(unused.values()),
    )


def loaded_from(experiment: Experiment, name: str) -> Loaded:
    """An experiment made in Python as if it had been read: with the gin text that gives it, for a run folder.

    Its components must be registered and lie in modules that can be imported. OptionError for what gin cannot write.
    """
    import_all()
    bindings = bindings_of(experiment, name)
    modules = modules_of(bindings)
    for module in modules:
        load_plugin(module)
    problems = Problems()
    again = build(check(bindings, problems), problems, Place(name, 1))
    resolved = resolve(experiment)
    if problems.found or repr(resolve(again)) != repr(resolved):
        reason = "; ".join(problems.lines()) or "what it gives back differs from it"
        raise OptionError("experiment", got=f"one that gin cannot write ({reason})", allowed="plain, declared options")
    text = flatten([f"an experiment in Python ({name})"], 0, modules, bindings)
    kept = MappingProxyType(resolved)
    return Loaded(experiment=experiment, text=text, resolved=kept, name=name, imports=tuple(modules))


def _imports(source: Source, reach: Reach) -> tuple[str, ...]:
    """The modules that files import, and those of components that came by another way."""
    classes = [lookup(name) for name, _ in reach.instances]
    plugins = [plugin for cls in classes if cls is not None and (plugin := plugin_of(cls)) is not None]
    return tuple(dict.fromkeys([*source.imports, *plugins]))


def _flattened(source: Source, program: Program, reach: Reach, imports: Sequence[str], overrides: int) -> str:
    names = [name if not Path(name).is_absolute() else Path(name).name for name in source.files.values()]
    used = [binding for binding in program.winners.values() if binding in reach.used]
    return flatten(names, overrides, imports, [*used, *naming(used, program, reach)])
