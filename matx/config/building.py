"""A checked program -> an experiment: gin is given the bindings for one call, builds, and forgets."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gin

from matx.config.checking import Program
from matx.config.effects import ROOT, Plan, required
from matx.config.hints import container, members, spell
from matx.config.names import lookup, parameters
from matx.config.statements import BROKEN, Binding, Place, Problems, Reference
from matx.config.writing import literal
from matx.errors import MatxError

__all__ = ["GIN_LOCK", "build"]

GIN_LOCK = threading.RLock()
"""gin's configuration is global: one load at a time."""

_PREFIX = "matx."
"""Before every name in gin's own registry, apart from whatever else a process registers there."""


@dataclass(frozen=True)
class _Failure:
    """In place of a component that could not be built; whoever receives it reports what is still unreported."""

    unreported: tuple[str, ...] = ()


@dataclass
class _Builder:
    program: Program
    plan: Plan
    problems: Problems
    bug: Exception | None = None
    cause: Exception | None = None

    def make(self, name: str, given: Mapping[str, Any]) -> Any:
        """Build one component from what gin read for it; problems go to the binding concerned."""
        bound = self.program.bound(name, tuple(gin.current_scope()))
        failed = False
        for parameter, value in given.items():
            for failure in _failures(value):
                failed = True
                for text in failure.unreported:
                    self.problems.add(bound[parameter].place, text)
        unset = [] if self._unsure(name) else [p for p in required(name) if p not in given]
        missing = tuple(self._missing(name, parameter) for parameter in unset)
        if failed or missing or any(p not in given for p in required(name)):
            return _Failure(missing)
        cls = lookup(name)
        assert cls is not None, "gin knows only names that the registries know"
        options = parameters(cls)
        try:
            return cls(**{p: _settle(value, options[p].hint) for p, value in given.items()})
        except (MatxError, ValueError, TypeError) as error:
            self.cause = self.cause or error
            return self._refused(name, error, bound)
        except Exception as error:  # a bug in a component: shown as it is, not as gin re-raises it
            self.bug = self.bug or error
            return _Failure()

    def _unsure(self, name: str) -> bool:
        return self.problems.incomplete or name in self.problems.uncertain

    def _missing(self, name: str, parameter: str) -> str:
        cls = lookup(name)
        assert cls is not None, "gin knows only names that the registries know"
        scope = "/".join(gin.current_scope())
        elsewhere = any(binding.key[1:] == (name, parameter) for binding in self.program.values)
        where = f" for scope {scope!r}" if scope and elsewhere else ""
        return f"{name}.{parameter} is required and not set{where}; allowed: {spell(parameters(cls)[parameter].hint)}"

    def _refused(self, name: str, error: Exception, bound: Mapping[str, Binding]) -> _Failure:
        """A component's own complaint, at the binding that it names, else where the component is referred to."""
        text = str(error) if isinstance(error, MatxError) else f"{type(error).__name__}: {error}"
        head = re.match(r"([\w.]+)\b[^:]*:", text)
        owner, _, parameter = head[1].rpartition(".") if head else ("", "", "")
        cls = lookup(name)
        if not owner:
            text = f"{name}.{text}" if cls and parameter in parameters(cls) else f"{name}: {text}"
        if owner in ("", name) and parameter in bound:
            self.problems.add(bound[parameter].place, text)
            return _Failure()
        named = [
            theirs[parameter]
            for (other, _), theirs in self.plan.instances.items()
            if other == owner != name and parameter in theirs
        ]
        if named:
            self.problems.add(self._that_says(named, text).place, text)
            return _Failure()
        for binding in bound.values():  # what a strategy says of the peers stands where it is chosen
            value = self.program.values.get(binding)
            if head and isinstance(value, Reference) and value.name == head[1]:
                self.problems.add(binding.place, text)
                return _Failure()
        return _Failure((text,))

    def _that_says(self, bindings: Sequence[Binding], text: str) -> Binding:
        """Of several bindings of one setting the first that holds what was got, else the first."""
        got = re.search(r"got ('[^']*')", text)
        return next((b for b in bindings if got and got[1] in literal(self.program.values[b])), bindings[0])


def build(program: Program, plan: Plan, problems: Problems, root: Place) -> Any:
    """The experiment, or None with all that its components complained of reported."""
    builder = _Builder(program, plan, problems)
    with _gin_for_one_call(builder):
        for name in sorted({name for name, _ in plan.instances}):
            _hand_over(name)
        _hand_over(BROKEN.name)
        with_effect = {binding: value for binding, value in program.values.items() if binding in plan.used}
        gin.parse_config("\n".join(_as_gin_reads(binding, value) for binding, value in with_effect.items()))
        result = gin.get_configurable(_PREFIX + ROOT)()
    if builder.bug is not None:
        raise builder.bug
    if not isinstance(result, _Failure):
        return result
    for text in result.unreported:
        problems.add(root, text)
    return builder.cause


_CURRENT: list[_Builder] = []
_HANDED: dict[str, Callable[..., Any]] = {}


@contextmanager
def _gin_for_one_call(builder: _Builder) -> Iterator[None]:
    """gin, empty and outside every scope, for this builder alone; empty again afterwards, also after an error."""
    with GIN_LOCK:
        gin.clear_config(clear_constants=True)
        _CURRENT.append(builder)
        try:
            with gin.config_scope(None):
                yield
        finally:
            _CURRENT.pop()
            gin.clear_config(clear_constants=True)


def _hand_over(name: str) -> None:
    """Give gin one wrapper for a name, once a process; the wrapper asks the registry at every call."""
    if name in _HANDED:
        return

    def make(**given: Any) -> Any:
        return _Failure() if name == BROKEN.name else _CURRENT[-1].make(name, given)

    module, _, last = f"{_PREFIX}{name}".rpartition(".")
    gin.register(last, module=module)(make)
    _HANDED[name] = make


def _as_gin_reads(binding: Binding, value: Any) -> str:
    scope = f"{binding.scope}/" if binding.scope else ""
    return f"{scope}{_PREFIX}{binding.name}.{binding.parameter} = {literal(_prefixed(value))}"


def _prefixed(value: Any) -> Any:
    if isinstance(value, Reference):
        return Reference(value.scope, _PREFIX + value.name)
    if isinstance(value, dict):
        return {key: _prefixed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_prefixed(item) for item in value)
    return value


def _failures(value: Any) -> Iterator[_Failure]:
    if isinstance(value, _Failure):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _failures(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _failures(item)


def _settle(value: Any, hint: Any) -> Any:
    """Lists become tuples (a frozen component holds nothing that changes) unless a list is annotated; paths Paths."""
    if isinstance(value, str):
        return Path(value) if Path in members(hint) and str not in members(hint) else value
    shapes = [shape for member in members(hint) if (shape := container(member)) is not None]
    inner = shapes[0][1] if shapes else (Any,)
    if isinstance(value, dict):
        return {key: _settle(item, inner[-1]) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        wants_list = any(member is list or getattr(member, "__origin__", None) is list for member in members(hint))
        hints = inner if len(inner) == len(value) else (inner[0],) * len(value)
        return (list if wants_list else tuple)(_settle(item, one) for item, one in zip(value, hints, strict=True))
    return value
