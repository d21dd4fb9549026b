"""What a gin file may name: the nouns, and every component that is registered as `kind.name`."""

from __future__ import annotations

from typing import Any

from matx.errors import did_you_mean
from matx.experiment import Evaluation, Experiment, Peer, Tune
from matx.options import parameters
from matx.registration import REGISTRIES
from matx.threat import ThreatModel

__all__ = ["NOUNS", "known_names", "lookup", "name_of", "unknown_name"]

NOUNS: dict[str, type[Any]] = {noun.__name__: noun for noun in (Experiment, Peer, Evaluation, Tune, ThreatModel)}
"""The declared nouns by name: to add one, name its class here."""


def lookup(name: str) -> type[Any] | None:
    """The class behind `Peer` or `attacks.pgd`, as the registries stand now."""
    kind, _, component = name.partition(".")
    if not component:
        return NOUNS.get(name)
    return REGISTRIES[kind].components.get(component) if kind in REGISTRIES else None


def known_names() -> list[str]:
    """Every noun and component."""
    return [*NOUNS, *(f"{kind}.{name}" for kind, registry in REGISTRIES.items() for name in registry)]


def name_of(component: object) -> str | None:
    """The name under which an instance (or class) can be written in gin."""
    cls = component if isinstance(component, type) else type(component)
    return next((name for name in known_names() if lookup(name) is cls), None)


def unknown_name(name: str, parameter: str = "") -> str:
    """The sentence about a name that nobody has: the nearest, the known, the plug-ins that were loaded."""
    kind, _, component = name.partition(".")
    plugins = ", ".join(next(iter(REGISTRIES.values())).plugins) or "none"
    if kind in REGISTRIES and component:
        registry = REGISTRIES[kind]
        near = did_you_mean(component, registry)
        return f"unknown component {name!r}{near}; {kind}: {', '.join(registry) or 'none'}; plug-ins loaded: {plugins}"
    if kind in REGISTRIES:
        return f"{kind!r} is a kind; name one of its components: {', '.join(f'{kind}.{n}' for n in REGISTRIES[kind])}"
    kind = next((kind for kind in REGISTRIES if name[:1].isupper() and kind.startswith(name.lower())), "")
    if kind:  # `Optimizer` for `optimizers.sgd`
        having = [one for one in REGISTRIES[kind] if parameter in parameters(REGISTRIES[kind][one])]
        written = f"{kind}.NAME.{parameter}" if parameter else f"@{kind}.NAME()"
        return f"unknown name {name!r}; write {written}, NAME one of {', '.join(having or REGISTRIES[kind])}"
    exact = [known for known in known_names() if known.rpartition(".")[2] == name.rpartition(".")[2]]
    near = f"; did you mean {exact[0]!r}?" if exact else did_you_mean(name, [*known_names(), *REGISTRIES])
    nouns, registries = ", ".join(NOUNS), ", ".join(f"{kind}.NAME" for kind in REGISTRIES)
    return f"unknown name {name!r}{near}; allowed: {nouns}, {registries}; plug-ins loaded: {plugins}"
