"""Statements -> a checked Program: every name known, every literal fits its annotation, macros expanded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from matx.config.hints import accepts, mismatch
from matx.config.names import lookup, unknown_name
from matx.config.statements import Binding, Macro, Place, Problems, Reference
from matx.errors import did_you_mean
from matx.options import BROKEN, fit, parameters

__all__ = ["Program", "check", "parts_named", "references"]


@dataclass
class Program:
    """The bindings in force, as gin would see them: one a key, the last."""

    winners: dict[tuple[str, str, str], Binding] = field(default_factory=dict)
    shadowed: dict[Binding, Binding] = field(default_factory=dict)
    """{replaced binding: the one that replaced it}."""
    values: dict[Binding, Any] = field(default_factory=dict)
    """Checked values: macros expanded, BROKEN where something was wrong."""
    macros: dict[Binding, list[Binding]] = field(default_factory=dict)
    """{binding: the macros that its value went through}."""

    def bound(self, name: str, scope: tuple[str, ...]) -> dict[str, Binding]:
        """{parameter: the binding that a component built in this scope reads}: of the scope's prefixes, the longest."""
        found: dict[str, Binding] = {}
        for length in range(len(scope) + 1):
            found.update(self._index.get(("/".join(scope[:length]), name), {}))
        return found

    def index(self) -> None:
        """Group the winners for `bound`; call it once they are complete."""
        self._index: dict[tuple[str, str], dict[str, Binding]] = {}
        for binding in self.winners.values():
            if not binding.is_macro and binding in self.values:
                self._index.setdefault((binding.scope, binding.name), {})[binding.parameter] = binding


def references(value: Any) -> Iterator[Reference]:
    """Every reference in a checked value."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from references(item)


def _contains_broken(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return any(map(_contains_broken, value)) if isinstance(value, (list, tuple)) else value is BROKEN


def check(bindings: Sequence[Binding], problems: Problems) -> Program:
    """Decide which bindings are in force and check every one of them."""
    program = Program()
    for binding in bindings:
        _put(binding, program)
    checker = _Checker(program, problems, {binding.scope for binding in bindings} - {""}, parts_named(bindings))
    for binding in program.winners.values():
        checker.binding(binding)
    program.index()
    return program


def _put(binding: Binding, program: Program) -> None:
    if binding.everywhere:
        below = [key for key in program.winners if key[1:] == binding.key[1:] and key != binding.key]
        for key in below:
            program.shadowed[program.winners.pop(key)] = binding
    if binding.key in program.winners:
        program.shadowed[program.winners[binding.key]] = binding
    program.winners[binding.key] = binding


def parts_named(bindings: Iterable[Binding]) -> set[tuple[int, str]]:
    """(depth, part) of every scope that a binding names: (0, 'linf') and (1, 'test') of `linf/test/x.y = 1`."""
    return {part for binding in bindings if binding.scope for part in enumerate(binding.scope.split("/"))}


@dataclass
class _Checker:
    program: Program
    problems: Problems
    scopes: set[str]
    parts: set[tuple[int, str]]

    def binding(self, binding: Binding) -> None:
        """Check the left side, then the value against the parameter's annotation."""
        if binding.is_macro:
            self._macro_definition(binding)
            return
        cls = lookup(binding.name)
        if cls is None:
            self._unknown(binding.place, f"{binding.label}: {unknown_name(binding.name, binding.parameter)}")
            return
        known = parameters(cls)
        if binding.parameter not in known:
            near = did_you_mean(binding.parameter, known)
            self.problems.uncertain.add(binding.name)
            self._hide(
                binding.place,
                f"{binding.label}: {binding.name} has no parameter {binding.parameter!r}{near}; "
                f"allowed: {', '.join(known) or 'none'}",
            )
            return
        self.program.macros[binding] = []
        value = self._expand(binding.value, binding, ())
        checked, wrong = fit(value, known[binding.parameter].hint, accepts, mismatch)
        self.program.values[binding] = checked
        via = "".join(f" (%{macro.label} is set at {macro.place})" for macro in self.program.macros[binding])
        for misfit in wrong:
            self.problems.hidden |= any(True for _ in references(misfit.value))
            if not _contains_broken(misfit.value):
                said = f"got {misfit.got}, allowed: {misfit.allowed}"
                self.problems.add(binding.place, f"{binding.label}{misfit.path}: {said}{via}")

    def _macro_definition(self, macro: Binding) -> None:
        name = macro.label
        if lookup(name) is not None or "." in name:
            self._hide(macro.place, f"{name}: got a value for the whole, allowed: {name}.PARAMETER = VALUE")

    def _unknown(self, place: Place, text: str) -> None:
        """A name that nobody has; where a plug-in was not loaded, that is said, and its names follow from it."""
        self.problems.hidden = True
        if not self.problems.unloaded:
            self.problems.add(place, text)

    def _hide(self, place: Place, text: str) -> None:
        self.problems.hidden = True
        self.problems.add(place, text)

    def _expand(self, value: Any, binding: Binding, path: tuple[str, ...]) -> Any:
        """The value with macros replaced by what they stand for, references checked for name, () and scope."""
        if isinstance(value, dict):
            return {key: self._expand(item, binding, path) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._expand(item, binding, path) for item in value)
        if isinstance(value, Reference):
            return value if self._reference(value, binding) else BROKEN
        if isinstance(value, Macro):
            return self._macro(value, binding, path)
        return value

    def _macro(self, macro: Macro, binding: Binding, path: tuple[str, ...]) -> Any:
        scope, _, name = macro.name.rpartition("/")
        found = self.program.winners.get((scope, name, ""))
        if macro.name in path:
            loop = " -> ".join(f"%{name}" for name in (*path, macro.name))
            self._hide(binding.place, f"{binding.label}: the macros stand for each other: {loop}")
            return BROKEN
        if found is None:
            known = [other.label for other in self.program.winners.values() if other.is_macro]
            near = did_you_mean(macro.name, known)
            self.problems.hidden = True
            if not self.problems.incomplete:
                self._hide(
                    binding.place,
                    f"{binding.label}: unknown macro %{macro.name}{near}; known: {', '.join(known) or 'none'}",
                )
            return BROKEN
        self.program.macros[binding].append(found)
        return self._expand(found.value, binding, (*path, macro.name))

    def _reference(self, reference: Reference, binding: Binding) -> bool:
        if lookup(reference.name) is None:
            self._unknown(binding.place, f"{binding.label}: {reference}: {unknown_name(reference.name)}")
            return False
        if not reference.evaluated:
            self._hide(binding.place, f"{binding.label}: got {reference} without (); did you mean {reference}()?")
            return False
        unset = self._unset_scope(reference)
        if unset and not self.problems.incomplete:
            self._hide(binding.place, f"{binding.label}: {reference}: {unset}")
        return not unset or self.problems.incomplete

    def _unset_scope(self, reference: Reference) -> str:
        """What is wrong with a reference's scope: a part that no binding names at its depth, which changes nothing.

        Other references do not make it right: a slip is easily made in all of them alike. But `linf/val` is right where
        only `l1/val` is set, for a suite writes all norms alike; and so is every peer, which may be like the others.
        """
        if not reference.scope or reference.name == "Peer":
            return ""
        parts = reference.scope.split("/")
        for depth, part in enumerate(parts):
            if (depth, part) not in self.parts:
                above = "".join(f"{outer}/" for outer in parts[:depth])
                near = did_you_mean(part, sorted(known for at, known in self.parts if at == depth))
                near = near.replace("'", f"'{above}", 1)
                listed = ", ".join(sorted(self.scopes)) or "none"
                return f"nothing is set in scope {above + part!r}{near}; scopes: {listed}"
        return ""
