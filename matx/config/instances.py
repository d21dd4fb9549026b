"""An experiment made in Python -> the gin text that gives the same one: a block for each different component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from matx.config.checking import Program, parts_named, references
from matx.config.effects import Reach
from matx.config.names import lookup, name_of
from matx.config.statements import Binding, Place, Reference
from matx.config.writing import is_plain, resolve
from matx.errors import OptionError
from matx.experiment import Peer
from matx.options import parameters, short
from matx.plugins import installed

__all__ = ["bindings_of", "modules_of", "naming"]

_PLAIN = "what gin can write: numbers, strings, None, lists, dicts, paths and registered components"


@dataclass(eq=False)
class _Block:
    """One component as gin sets it."""

    name: str
    options: dict[str, Any]
    wish: str
    """The scope that it is given if there are several components of its name."""
    number: int
    default: dict[str, Any]
    """One option at its default, written where nothing else makes its scope known."""

    def __repr__(self) -> str:
        return f"{self.name}#{self.number}"


@dataclass
class _Blocks:
    """The different components of an experiment by name; equal ones are one block."""

    by_name: dict[str, dict[str, _Block]] = field(default_factory=dict)

    def add(self, component: Any, where: str, wish: str = "") -> _Block:
        """The block of a component and of all below it; OptionError for what gin cannot write."""
        name = name_of(component)
        if name is None:
            home = f"{type(component).__module__}.{type(component).__qualname__}"
            allowed = "a registered class: put @matx.KIND.register('NAME') above it"
            raise OptionError(where, got=f"a {home}, which is not registered", allowed=allowed)
        options = {}
        for option, declared in parameters(type(component)).items():
            value = getattr(component, option)
            if declared.required or repr(resolve(value)) != repr(resolve(declared.default)):
                options[option] = self.value(value, f"{name}.{option}")
        same = self.by_name.setdefault(name, {})
        plain = (option for option in parameters(type(component)) if is_plain(getattr(component, option)))
        default = {option: getattr(component, option) for option in (next(plain, None),) if option is not None}
        block = _Block(name, options, wish or f"{name.rpartition('.')[2]}_{len(same) + 1}", len(same), default)
        return same.setdefault(repr(options), block)

    def value(self, value: Any, where: str, wish: str = "") -> Any:
        """A value as gin writes it, components as blocks."""
        if isinstance(value, Path):
            return str(value)
        if is_plain(value):
            return value
        if isinstance(value, Mapping) and all(isinstance(key, str | int | float | bool) for key in value):
            return {
                key: self.value(item, f"{where}[{key!r}]", key if isinstance(item, Peer) else "")
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(item, f"{where}[{position}]") for position, item in enumerate(value)]
        if _is_component(value):
            return self.add(value, where, wish)
        raise OptionError(where, got=short(value), allowed=_PLAIN)

    def written(self, value: Any) -> Any:
        """A value with references in place of blocks, scoped where there are several of a name."""
        if isinstance(value, _Block):
            return Reference(self.scope(value), value.name)
        if isinstance(value, dict):
            return {key: self.written(item) for key, item in value.items()}
        return [self.written(item) for item in value] if isinstance(value, list) else value

    def scope(self, block: _Block) -> str:
        """Nothing for the only block of its name: no other then reads its bindings."""
        return block.wish if len(self.by_name[block.name]) > 1 else ""


def bindings_of(experiment: Any, file: str) -> list[Binding]:
    """The bindings that give an experiment; OptionError for the first value that gin cannot write."""
    blocks = _Blocks()
    blocks.add(experiment, "experiment")
    ordered = [block for name in reversed(blocks.by_name) for block in blocks.by_name[name].values()]
    return [
        Binding(blocks.scope(block), block.name, option, blocks.written(value), Place(file, 1))
        for block in ordered
        for option, value in (block.options or (block.default if blocks.scope(block) else {})).items()
    ]


def naming(bindings: Sequence[Binding], program: Program, reach: Reach) -> list[Binding]:
    """For scopes that only bindings without effect named: one that sets there a default that holds there anyway.

    Without it, a text that leaves the others out would be refused for references into those scopes.
    """
    found: list[Binding] = []
    scoped = [it for b in bindings for it in references(program.values.get(b)) if it.scope and it.name != "Peer"]
    for reference in scoped:
        scope = tuple(reference.scope.split("/"))
        if not parts_named([*bindings, *found]).issuperset(enumerate(scope)):
            defaults = (
                Binding(reference.scope, name, option, declared.default, Place("", 1))
                for (name, at), bound in reach.instances.items()
                if at == scope and (cls := lookup(name)) is not None
                for option, declared in parameters(cls).items()
                if option not in bound and not declared.required and is_plain(declared.default)
            )
            found += [binding for binding in (next(defaults, None),) if binding is not None]
    return found


def modules_of(bindings: list[Binding]) -> list[str]:
    """The modules to import for the components; OptionError for those that no other process can import."""
    modules: dict[str, None] = {}
    named = {value.name for binding in bindings for value in references(binding.value)}
    for name in sorted(named):
        cls = lookup(name)
        if cls is None or "." not in name or installed(cls.__module__):
            continue
        if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
            got = f"{cls.__module__}.{cls.__qualname__}"
            raise OptionError(name, got=got, allowed="a class at the top of a module that can be imported")
        modules[cls.__module__] = None
    return list(modules)


def _is_component(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)
