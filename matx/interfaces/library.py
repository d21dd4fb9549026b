"""What an architecture offers whose networks another library builds by name, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from matx.data import Data

__all__ = ["FromLibrary", "Library", "LibraryForm"]


@dataclass(frozen=True, kw_only=True)
class Library:
    """A library that builds networks by name; its name is also that of an export format."""

    name: str
    make_known: Callable[[], None]
    """Tells the library the names of registered networks, which imports it."""


@dataclass(frozen=True, kw_only=True)
class LibraryForm:
    """How the library builds one network again, which takes normalised images, and reads its weights."""

    documents: Mapping[str, Any]
    """{file name: content as JSON}, which lie beside the weights."""
    loading: str
    """Python that gives the network; `{folder}` and `{file}` in it are those of the weights."""


@runtime_checkable
class FromLibrary(Protocol):
    """What an architecture declares whose networks a library builds without it."""

    library: ClassVar[Library]

    def library_form(self, data: Data) -> LibraryForm:
        """That of its network for such images; mean and std are in a document."""
        ...
