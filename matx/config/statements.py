"""What a gin file says, as plain data: bindings, imports and includes with their places, and what is wrong there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Binding", "Import", "Include", "Macro", "Place", "Problems", "Reference", "Statement"]


@dataclass(frozen=True)
class Place:
    """Where a statement stands, and by which door it came in."""

    file: str
    """The file as shown to the user, or the text of an override."""
    line: int = 0
    """From 1; 0 for an override."""
    root: int = 0
    """Which of the given files brought it in; overrides come after all of them."""
    included: bool = False

    @property
    def is_override(self) -> bool:
        """Whether it was given with -s."""
        return self.line == 0

    def __str__(self) -> str:
        return f"-s {self.file!r}" if self.is_override else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Reference:
    """`@scope/name()`, or `@scope/name` where not evaluated."""

    scope: str
    name: str
    evaluated: bool = True

    def __str__(self) -> str:
        scope = f"{self.scope}/" if self.scope else ""
        return f"@{scope}{self.name}{'()' if self.evaluated else ''}"

    __repr__ = __str__


@dataclass(frozen=True)
class Macro:
    """`%NAME`."""

    name: str

    def __str__(self) -> str:
        return f"%{self.name}"

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class Binding:
    """`scope/name.parameter = value`; a macro has no parameter, and its scope belongs to its name."""

    scope: str
    name: str
    parameter: str
    value: Any
    place: Place
    everywhere: bool = False
    """An override written `*/name.parameter`: it replaces the scoped bindings too."""

    @property
    def is_macro(self) -> bool:
        """Whether it defines a macro."""
        return not self.parameter

    @property
    def key(self) -> tuple[str, str, str]:
        """What it sets; a later binding of the same key replaces it."""
        return self.scope, self.name, self.parameter

    @property
    def label(self) -> str:
        """Its left side, as written."""
        scope = f"{self.scope}/" if self.scope else ""
        return f"{scope}{self.name}{'.' if self.parameter else ''}{self.parameter}"


@dataclass(frozen=True)
class Import:
    """`import module`."""

    module: str
    place: Place


@dataclass(frozen=True)
class Include:
    """`include 'file.gin'`."""

    file: str
    place: Place


Statement = Binding | Import | Include


@dataclass
class Problems:
    """What is wrong so far."""

    found: dict[tuple[Place, str], None] = field(default_factory=dict)
    incomplete: bool = False
    """A file could not be read in full: what else seems to be missing may stand in the rest."""
    unloaded: bool = False
    """A plug-in was not loaded: names that nobody has may be its."""
    hidden: bool = False
    """A reference or name is wrong: what would have been built below it is unknown."""
    uncertain: set[str] = field(default_factory=set)
    """Names with a wrong parameter: a required one that seems unset may be meant by it."""

    def add(self, place: Place, text: str) -> None:
        """Report a sentence once for each place."""
        self.found[place, text] = None

    def lines(self) -> list[str]:
        """`file:line: sentence`, in the order of files and lines."""
        files = list(dict.fromkeys(place.file for place, _ in self.found))
        order = sorted(self.found, key=lambda it: (it[0].root, it[0].included, files.index(it[0].file), it[0].line))
        return [f"{place}: {text}" for place, text in order]
