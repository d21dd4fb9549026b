"""Options of dataclasses: their declarations checked once, every instance's values checked as it is made."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, get_type_hints
from weakref import WeakKeyDictionary

from matx.errors import OptionError, RegistrationError, did_you_mean
from matx.options.annotations import allowed, alternatives, bare, container, declarations, fit, fits
from matx.options.ranges import Range

__all__ = ["Parameter", "concerning", "declare", "declared_as", "one_of", "parameters"]

C = TypeVar("C", bound=type[Any])

_OWNERS: WeakKeyDictionary[type[Any], str] = WeakKeyDictionary()
"""{declared class: its name in messages}."""
_PARAMETERS: WeakKeyDictionary[type[Any], Mapping[str, Parameter]] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One option of a component or noun."""

    name: str
    hint: Any
    """Its annotation, resolved (Any where that is impossible)."""
    required: bool
    default: Any = None

    @property
    def declares(self) -> bool:
        """Whether its annotation holds a range or choices."""
        return any(True for _ in declarations(self.hint))


def parameters(cls: type[Any]) -> Mapping[str, Parameter]:
    """The options of a component or noun by name, in declared order."""
    if cls not in _PARAMETERS:
        _PARAMETERS[cls] = {
            f.name: Parameter(
                name=f.name,
                hint=_hint(cls, f.name),
                required=f.default is MISSING and f.default_factory is MISSING,
                default=f.default if f.default_factory is MISSING else f.default_factory(),
            )
            for f in fields(cls)
            if f.init
        }
    return _PARAMETERS[cls]


def _hint(cls: type[Any], name: str) -> Any:
    """A field's annotation, resolved where its class was written; Any where it names what does not exist yet."""
    home = next(base for base in cls.__mro__ if name in vars(base).get("__annotations__", {}))

    def bearer() -> None: ...

    bearer.__annotations__ = {name: home.__annotations__[name]}
    names = vars(sys.modules[home.__module__]) if home.__module__ in sys.modules else {}
    try:
        return get_type_hints(bearer, names, dict(vars(home)), include_extras=True)[name]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any


def declare(component: C, owner: str = "") -> C:
    """Check a dataclass's declarations, and from now on each instance's options before its own `__post_init__` runs.

    An OptionError of its `__post_init__` that names no owner gets this one: the name in gin.
    """
    owner = owner or component.__name__
    wrapped = component in _OWNERS
    _OWNERS[component] = owner
    _check_declarations(component, owner)
    if wrapped:
        return component
    init = component.__init__
    positional = [f.name for f in fields(component) if f.init and not f.kw_only]

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **given: Any) -> None:
        with concerning(self):
            known = parameters(component)
            for name, value in (*zip(positional, args, strict=False), *given.items()):
                if name in known and known[name].declares:
                    _check_value(name, value, known[name].hint)
            init(self, *args, **given)

    component.__init__ = checked
    return component


def declared_as(owner: str) -> type[Any] | None:
    """The class that was declared last under a name: `Peer`, or `attacks.pgd`."""
    return next((cls for cls, name in reversed(list(_OWNERS.items())) if name == owner), None)


@contextmanager
def concerning(component: object) -> Iterator[None]:
    """An OptionError raised inside is about this component, unless it says about which already."""
    try:
        yield
    except OptionError as error:
        if error.component is None:
            error.component = component
            error.owner = error.owner or next((_OWNERS[cls] for cls in type(component).__mro__ if cls in _OWNERS), "")
        raise


def one_of(parameter: str, got: str, choices: Sequence[str]) -> None:
    """Refuse a name that is not among those known at run time, such as a peer's (others: declare a Literal)."""
    if got not in choices:
        near = did_you_mean(str(got), choices)
        raise OptionError(parameter, got=repr(got), allowed=f"{', '.join(choices) or 'none'}{near}")


def _check_value(name: str, value: Any, hint: Any) -> None:
    _, wrong = fit(value, hint, _accepts, lambda one, expected: (repr(one), allowed(one, expected)), name)
    for misfit in wrong:
        raise OptionError(misfit.path, got=misfit.got, allowed=misfit.allowed)


def _accepts(alternative: Any, value: Any) -> bool:
    """In Python plain values must fit, instances must be of the class, and anything else is left to the component."""
    plain, hint = fits(alternative, value), bare(alternative)
    if plain is not None:
        return plain
    if container(hint) is not None:
        return not isinstance(value, str | bool | int | float | None)
    return not isinstance(hint, type) or getattr(hint, "_is_protocol", False) or isinstance(value, hint)


def _check_declarations(component: type[Any], owner: str) -> None:
    """RegistrationError for a range that no number lies in, one on what is no number, or a default outside its own."""
    for option in fields(component):
        try:
            hint = _hint(component, option.name)
            found = list(declarations(hint))
            for inner, declared in found:
                if isinstance(declared, Range):
                    _check_range(inner, declared)
            value = option.default if option.default_factory is MISSING or not found else option.default_factory()
            if found and value is not MISSING:
                _check_value("the default", value, hint)
        except OptionError as error:
            raise RegistrationError(f"{owner}.{option.name}: {error}") from None


def _check_range(inner: Any, declared: Range) -> None:
    kinds = [one for one in map(bare, alternatives(inner)) if one in (int, float)]
    if not kinds:
        raise OptionError("Range", got=f"{declared} on {inner!r}", allowed="a range on int or float")
    first = math.ceil(declared.low) if math.isfinite(declared.low) else math.floor(min(declared.high, 0)) - 1
    if kinds == [int] and first not in declared and first + 1 not in declared:
        raise OptionError("Range", got=f"{declared} on int", allowed="a range that holds a whole number")
