"""The kinds of components and the registry of each. A component registers itself under its file's name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from matx.errors import RegistrationError, did_you_mean
from matx.interfaces import (
    Architecture,
    Attack,
    Augmentation,
    Composite,
    Dataset,
    FirstOrderAttack,
    FromLibrary,
    Library,
    Metric,
    Optimizer,
    PerturbationUnion,
    Schedule,
    Strategy,
    Tracker,
)
from matx.options import declare

__all__ = ["KINDS", "REGISTRIES", "Kind", "Registry", "libraries"]

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(eq=False)
class Registry(Generic[T]):
    """A registry: component classes by name. `@registry.register("name")` adds one, `registry["name"]` gives it.

    A component is a dataclass; anything else is refused. A name has one owner. The same module and qualified name may
    register again, as a notebook cell does. Reading it finds the installed plug-ins, the built-ins among them.

    >>> import matx
    >>> "pgd" in matx.attacks, "cosine" in matx.schedules, "mat" in matx.strategies, "tiny" in matx.architectures
    (True, True, True, True)
    >>> sorted(matx.unions)[:2]
    ['adaptive', 'average']
    >>> matx.attacks["pgd"](threat=matx.ThreatModel(norm="linf", eps="8/255")).threat.key
    'linf:8/255'
    """

    kind: str
    """The registry's word: folder, selector in gin, and word on the command line."""
    components: dict[str, type[T]] = field(default_factory=dict)
    plugins: list[str] = field(default_factory=list)
    """The plug-ins that were loaded, for error messages."""
    discover: Callable[[], object] | None = None
    """Registers what installed plug-ins bring, if that has not been done; matx.plugins sets it, called on reading."""

    def register(self, name: str) -> Callable[[C], C]:
        """A decorator that registers a dataclass under a lower-case name."""
        if not _NAME.match(name):
            raise RegistrationError(f"{self.kind}: got the name {name!r}, allowed: lower-case letters, digits and _")

        def put(component: C) -> C:
            if not isinstance(component, type) or "__dataclass_params__" not in vars(component):
                raise RegistrationError(
                    f"{self.kind}.{name}: got {place(component)}, allowed: a class made a dataclass by a line "
                    f"@dataclass(frozen=True, kw_only=True) below the line @matx.{self.kind}.register({name!r})"
                )
            owner = self.components.get(name)
            if owner is not None and _identity(owner) != _identity(component):
                raise RegistrationError(
                    f"{self.kind}.{name} is taken by {place(owner)}; "
                    f"{place(component)} wants it too: rename one of them"
                )
            self.components[name] = declare(component, f"{self.kind}.{name}")
            return component

        return put

    def _known(self) -> dict[str, type[T]]:
        if self.discover is not None:
            self.discover()
        return self.components

    def __getitem__(self, name: str) -> type[T]:
        if name not in self:
            raise RegistrationError(
                f"{self.kind}.{name} is not registered{did_you_mean(name, self.components)}; "
                f"known: {', '.join(self) or 'none'}; plug-ins loaded: {', '.join(self.plugins) or 'none'}"
            )
        return self.components[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._known()))

    def __len__(self) -> int:
        return len(self._known())

    def label(self, component: object) -> str:
        """The registered name of an instance's class; of one made in Python alone, the class's own."""
        try:
            return self.name_of(component)
        except RegistrationError:
            return type(component).__name__

    def name_of(self, component: object) -> str:
        """The name under which an instance's class (or a class) is registered."""
        cls = component if isinstance(component, type) else type(component)
        for name, known in self.components.items():
            if known is cls:
                return name
        raise RegistrationError(f"{cls.__module__}.{cls.__qualname__} is not registered among {self.kind}")


def _identity(component: type[Any]) -> tuple[str, str]:
    return component.__module__, component.__qualname__


def place(component: type[Any]) -> str:
    """`module.Class (file:line)` of a component, for messages and `matx show`; any other object as it prints."""
    if not hasattr(component, "__qualname__"):
        return repr(component)
    where = f"{component.__module__}.{component.__qualname__}"
    try:
        return f"{where} ({inspect.getsourcefile(component)}:{inspect.getsourcelines(component)[1]})"
    except (OSError, TypeError):
        return where


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of component: its word, what its components must be, and the contracts that hold them to it."""

    name: str
    """The registry, the folder in a plug-in, the selector in gin and the word on the command line."""
    protocol: type[Any]
    refinements: tuple[type[Any], ...] = ()
    """Protocols of some of its components, which annotations may also name."""
    contract: str
    """`module:name` of its contracts: functions that take a component and raise AssertionError with a sentence."""


KINDS: tuple[Kind, ...] = (
    Kind(name="architectures", protocol=Architecture, contract="matx.testing.architectures:CONTRACTS"),
    Kind(
        name="attacks",
        protocol=Attack,
        refinements=(FirstOrderAttack, Composite),
        contract="matx.testing.attacks:CONTRACTS",
    ),
    Kind(name="augmentations", protocol=Augmentation, contract="matx.testing.augmentations:CONTRACTS"),
    Kind(name="datasets", protocol=Dataset, contract="matx.testing.datasets:CONTRACTS"),
    Kind(name="metrics", protocol=Metric, contract="matx.testing.metrics:CONTRACTS"),
    Kind(name="optimizers", protocol=Optimizer, contract="matx.testing.optimizers:CONTRACTS"),
    Kind(name="schedules", protocol=Schedule, contract="matx.testing.schedules:CONTRACTS"),
    Kind(name="strategies", protocol=Strategy, contract="matx.testing.strategies:CONTRACTS"),
    Kind(name="trackers", protocol=Tracker, contract="matx.testing.trackers:CONTRACTS"),
    Kind(name="unions", protocol=PerturbationUnion, contract="matx.testing.unions:CONTRACTS"),
)
"""Every kind, declared here and nowhere else: a kind is its entry, its protocol and contracts, and its folder."""


def _registries(kinds: Sequence[Kind]) -> dict[str, Registry[Any]]:
    """An empty registry for each kind; RegistrationError where two kinds share a word."""
    found: dict[str, Registry[Any]] = {}
    for kind in kinds:
        if kind.name in found:
            raise RegistrationError(f"kinds: {kind.name!r} is declared twice in KINDS, allowed: one entry a kind")
        found[kind.name] = Registry(kind.name)
    return found


REGISTRIES: dict[str, Registry[Any]] = _registries(KINDS)
"""The registry of each kind by its word; each is also an attribute of this module, and of `matx`."""


def __getattr__(name: str) -> Any:
    if name not in REGISTRIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return REGISTRIES[name]


def libraries() -> dict[str, Library]:
    """{name: library} of the libraries that build networks of registered architectures by name, too."""
    registry = REGISTRIES["architectures"]
    found = (component.library for name in registry if isinstance(component := registry[name], FromLibrary))
    return {library.name: library for library in found}


if TYPE_CHECKING:
    architectures: Registry[Architecture]
    attacks: Registry[Attack]
    augmentations: Registry[Augmentation]
    datasets: Registry[Dataset]
    metrics: Registry[Metric]
    optimizers: Registry[Optimizer]
    schedules: Registry[Schedule]
    strategies: Registry[Strategy]
    trackers: Registry[Tracker]
    unions: Registry[PerturbationUnion]
