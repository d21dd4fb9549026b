"""Which binding reaches which component, found without building any; and the bindings that reach none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matx.config.checking import Program, check, references
from matx.config.names import NOUNS, lookup
from matx.config.statements import Binding, Problems, Reference
from matx.errors import did_you_mean
from matx.options import alternatives, parameters

__all__ = ["ROOT", "Reach", "find_circle", "find_idle", "required", "summarised", "walk", "within"]

ROOT = "Experiment"
Instance = tuple[str, tuple[str, ...]]
"""A component's name and the scope in which it is built."""


@dataclass
class Reach:
    """What building `Experiment()` reaches: the instances, and the bindings that are read."""

    instances: dict[Instance, dict[str, Binding]] = field(default_factory=dict)
    used: set[Binding] = field(default_factory=set)
    """The bindings read, and the macros that they went through."""
    circle: tuple[Instance, ...] = ()
    """Components each of which needs the next one to be built; the first of them is also the last."""


def walk(program: Program) -> Reach:
    """Follow every reference from the experiment with gin's scopes: `@x()` stays in scope, `@s/x()` enters just s."""
    reach = Reach()

    def visit(instance: Instance, path: tuple[Instance, ...]) -> None:
        if instance in path:
            reach.circle = reach.circle or (*path[path.index(instance) :], instance)
            return
        if instance in reach.instances:
            return
        name, scope = instance
        bound = program.bound(name, scope)
        for binding in bound.values():
            reach.used.update((binding, *program.macros[binding]))
            for reference in references(program.values[binding]):
                visit((reference.name, within(reference, scope)), (*path, instance))
        reach.instances[instance] = bound

    visit((ROOT, ()), ())
    return reach


def within(reference: Reference, scope: tuple[str, ...]) -> tuple[str, ...]:
    """The scope in which a reference is built: its own exactly, else the one that it stands in."""
    return tuple(reference.scope.split("/")) if reference.scope else scope


def find_circle(program: Program, reach: Reach, problems: Problems) -> None:
    """Report components that need each other to be built."""
    if reach.circle:
        name, inner = reach.circle[0][0], reach.circle[1][0]
        steps = " -> ".join(f"@{'/'.join((*scope, name))}()" for name, scope in reach.circle)
        closing = [
            b for b in reach.used if b.name == name and any(r.name == inner for r in references(program.values[b]))
        ]
        problems.add(closing[0].place, f"{name} cannot be built: the references run in a circle: {steps}")


def find_idle(bindings: Sequence[Binding], program: Program, reach: Reach, problems: Problems) -> dict[Binding, str]:
    """Report bindings without effect; {binding: sentence} of those that are only worth a warning."""
    idle = [binding for binding in program.winners.values() if binding not in reach.used and binding in _live(program)]
    excused = _excused(bindings, [binding for binding in idle if not binding.place.is_override])
    mentioned = {macro for binding in idle for macro in program.macros.get(binding, ())}
    warnings: dict[Binding, str] = {}
    for binding in idle:
        if binding.is_macro and binding in mentioned:
            continue  # the binding that names it is reported, which says enough
        if binding in excused:
            replaced = "an override or a later file replaced what it sets"
            warnings[binding] = f"{binding.place}: {binding.label} has no effect: {replaced}"
        elif binding.place.included:
            warnings[binding] = f"{binding.place}: {_sentence(binding, program, reach)}"
        else:
            problems.add(binding.place, _sentence(binding, program, reach))
    for earlier, later in program.shadowed.items():
        if _undone(earlier, later):
            problems.add(
                earlier.place,
                f"{earlier.label} has no effect: {later.place}, included below it, sets it; put the include first",
            )
    for binding in program.winners.values():
        if binding.place.is_override and binding in reach.used:
            _partial(binding, reach, problems)
    return warnings


def summarised(warnings: Mapping[Binding, str], bindings: Sequence[Binding], program: Program) -> list[str]:
    """The warnings, but one line for all bindings that lost their effect because another one replaced a component."""
    left = dict(warnings)
    lines = []
    for earlier, later in program.shadowed.items():
        if left and any(True for _ in references(earlier.value)):
            without = walk(check([binding for binding in bindings if binding is not later], Problems())).used
            lost = [binding for binding in left if binding in without]
            if len(lost) > 1:
                idle = f"so {len(lost)} bindings have no effect; -v lists them"
                lines.append(f"{later.place}: {later.label} replaces a value, {idle}")
                left = {binding: sentence for binding, sentence in left.items() if binding not in lost}
    return [*lines, *left.values()]


def _live(program: Program) -> set[Binding]:
    """The bindings that could have been read: checked ones and macros."""
    return {binding for binding in program.winners.values() if binding.is_macro or binding in program.values}


def _excused(bindings: Sequence[Binding], idle: Sequence[Binding]) -> set[Binding]:
    """Those that would have an effect without the overrides and the files given later."""
    excused: set[Binding] = set()
    for root in {binding.place.root for binding in idle}:
        upto = [b for b in bindings if b.place.root <= root and not b.place.is_override]
        if len(upto) < len(bindings):
            excused |= walk(check(upto, Problems())).used
    return excused


def _undone(earlier: Binding, later: Binding) -> bool:
    """A line of the given file that an include below it sets again (a part should be included first)."""
    return later.place.included and not earlier.place.included and later.place.root == earlier.place.root


def _sentence(binding: Binding, program: Program, reach: Reach) -> str:
    """Why a binding has no effect."""
    if binding.is_macro:
        read = {macro for macros in program.macros.values() for macro in macros}
        known = [other.label for other in read if other.name == binding.name]
        also = f"; read are {', '.join('%' + name for name in known)}" if known else ""
        owners = [f"{name}.{binding.label}" for name, noun in NOUNS.items() if binding.label in parameters(noun)]
        meant = f"; did you mean {owners[0]}?" if owners else ""
        return f"macro {binding.label} is never used; write %{binding.label} where it is meant{also}{meant}"
    whole = f"{binding.label} has no effect: "
    scopes = ["/".join(scope) for name, scope in reach.instances if name == binding.name]
    if not scopes:
        return f"{whole}no @{binding.name}() is built{_entered(binding.scope, reach)}{_where_to_put(binding.name)}"
    inside = [scope for scope in scopes if _within(scope, binding.scope)]
    if not inside:
        listed = ", ".join(repr(scope) if scope else "no scope" for scope in dict.fromkeys(scopes))
        return f"{whole}{binding.name} is built in {listed}, not in {binding.scope!r}{_entered(binding.scope, reach)}"
    return f"{whole}hidden by {_listed(_hiding(binding, reach))}{_everywhere(binding)}"


def _where_to_put(name: str) -> str:
    """Where a noun's reference belongs: gin does not reach the defaults of other nouns."""
    for owner, noun in NOUNS.items():
        for option in parameters(noun).values() if name in NOUNS else ():
            if any(member is NOUNS[name] for member in alternatives(option.hint)):
                return f"; write {owner}.{option.name} = @{name}()"
    return ""


def _entered(scope: str, reach: Reach) -> str:
    """The scopes that are entered, where this one is not."""
    entered = dict.fromkeys("/".join(inner) for _, inner in reach.instances if inner)
    if not scope or any(_within(inner, scope) for inner in entered):
        return ""
    return f" (unknown scope {scope!r}{did_you_mean(scope, entered)}; entered: {', '.join(entered) or 'none'})"


def _within(scope: str, prefix: str) -> bool:
    return not prefix or scope == prefix or scope.startswith(prefix + "/")


def _hiding(binding: Binding, reach: Reach) -> list[Binding]:
    """The more specific bindings read by components that this one would have reached."""
    found = [
        bound[binding.parameter]
        for (name, scope), bound in reach.instances.items()
        if name == binding.name and binding.parameter in bound and _within("/".join(scope), binding.scope)
    ]
    return [other for other in dict.fromkeys(found) if other is not binding]


def _listed(bindings: Sequence[Binding]) -> str:
    return ", ".join(f"{binding.label} ({binding.place})" for binding in bindings)


def _everywhere(binding: Binding) -> str:
    if not binding.place.is_override or binding.scope:
        return ""
    value = binding.place.file.partition("=")[2].strip()
    return f'; -s "*/{binding.name}.{binding.parameter}={value}" sets all'


def _partial(binding: Binding, reach: Reach, problems: Problems) -> None:
    """An override that some of its components do not read, because a scoped binding of a file is more specific."""
    hiding = [other for other in _hiding(binding, reach) if not other.place.is_override]
    if hiding:
        problems.add(
            binding.place,
            f"{binding.label} reaches only some: hidden by {_listed(hiding)}{_everywhere(binding)}; "
            "to keep those as they are, give them with -s too",
        )


def required(name: str) -> list[str]:
    """The parameters without a default."""
    cls = lookup(name)
    return [] if cls is None else [option.name for option in parameters(cls).values() if option.required]
