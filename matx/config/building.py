"""A checked program -> an experiment: every reference is built in its scope, problems go to the bindings concerned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from matx.config.checking import Program
from matx.config.effects import ROOT, required, within
from matx.config.hints import spell
from matx.config.names import lookup
from matx.config.statements import Binding, Place, Problems, Reference
from matx.errors import MatxError, OptionError
from matx.options import BROKEN, alternatives, bare, container, parameters

__all__ = ["build"]


@dataclass(frozen=True)
class _Failure:
    """In place of a component that could not be built; its texts are reported where it is referred to."""

    unreported: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Made:
    """A component that was built: from which bindings, and which one refers to it."""

    component: object
    bound: Mapping[str, Binding]
    chosen_by: Binding


@dataclass
class _Builder:
    program: Program
    problems: Problems
    made: list[_Made] = field(default_factory=list)
    cause: Exception | None = None

    def make(self, name: str, scope: tuple[str, ...]) -> Any:
        """A component or noun, built in a scope; _Failure where a part of it or itself is refused."""
        bound = self.program.bound(name, scope)
        given = {parameter: self._value(binding, scope) for parameter, binding in bound.items()}
        failed = False
        for parameter, value in given.items():
            for failure in _failures(value):
                failed = True
                for text in failure.unreported:
                    self.problems.add(bound[parameter].place, text)
        unset = [parameter for parameter in required(name) if parameter not in given]
        if failed or unset:
            unsure = self.problems.incomplete or name in self.problems.uncertain
            return _Failure(() if unsure else tuple(self._missing(name, parameter, scope) for parameter in unset))
        cls = lookup(name)
        assert cls is not None, "only known names are checked references"
        options = parameters(cls)
        try:
            return cls(**{parameter: _settle(value, options[parameter].hint) for parameter, value in given.items()})
        except (MatxError, ValueError, TypeError) as error:
            self.cause = self.cause or error
            return self._refused(name, error, bound)

    def _value(self, binding: Binding, scope: tuple[str, ...]) -> Any:
        def built(value: Any) -> Any:
            if isinstance(value, Reference):
                component = self.make(value.name, within(value, scope))
                if not isinstance(component, _Failure):
                    bound = self.program.bound(value.name, within(value, scope))
                    self.made.append(_Made(component, bound, binding))
                return component
            if isinstance(value, dict):
                return {key: built(item) for key, item in value.items()}
            return [built(item) for item in value] if isinstance(value, list | tuple) else value

        return built(self.program.values[binding])

    def _missing(self, name: str, parameter: str, scope: tuple[str, ...]) -> str:
        cls = lookup(name)
        assert cls is not None, "only known names are checked references"
        elsewhere = any(binding.key[1:] == (name, parameter) for binding in self.program.values)
        where = f" for scope {'/'.join(scope)!r}" if scope and elsewhere else ""
        return f"{name}.{parameter} is required and not set{where}; allowed: {spell(parameters(cls)[parameter].hint)}"

    def _refused(self, name: str, error: Exception, bound: Mapping[str, Binding]) -> _Failure:
        """What a component refuses: at the binding of the option, else where the component is referred to."""
        if not isinstance(error, MatxError):
            return _Failure((f"{name}: {type(error).__name__}: {error}",))
        text = str(error)
        if not isinstance(error, OptionError):
            return _Failure((text,))
        part = next((made for made in self.made if made.component is error.component), None)
        option = error.parameter.partition("[")[0]
        binding = (bound if part is None else part.bound).get(option)
        if binding is None and part is not None:
            binding = part.chosen_by
        if binding is None:
            return _Failure((text,))
        self.problems.add(binding.place, text)
        return _Failure()


def build(program: Program, problems: Problems, root: Place) -> Any:
    """The experiment; or None, or the first exception, with all that its components refuse reported."""
    builder = _Builder(program, problems)
    result = builder.make(ROOT, ())
    if not isinstance(result, _Failure):
        return result
    for text in result.unreported:
        problems.add(root, text)
    return builder.cause


def _failures(value: Any) -> Iterator[_Failure]:
    if value is BROKEN:
        yield _Failure()
    elif isinstance(value, _Failure):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _failures(item)


def _settle(value: Any, hint: Any) -> Any:
    """Lists become tuples (nothing in a frozen component changes) unless a list is annotated; paths become Paths."""
    parts = [bare(part) for part in alternatives(hint)]
    if isinstance(value, str):
        return Path(value) if Path in parts and str not in parts else value
    shapes = [shape for part in parts if (shape := container(part)) is not None]
    inner = shapes[0][1] if shapes else (Any,)
    if isinstance(value, dict):
        return {key: _settle(item, inner[-1]) for key, item in value.items()}
    if isinstance(value, list):
        wants_list = any(part is list or get_origin(part) is list for part in parts)
        hints = inner if len(inner) == len(value) else (inner[0],) * len(value)
        return (list if wants_list else tuple)(_settle(item, one) for item, one in zip(value, hints, strict=True))
    return value
