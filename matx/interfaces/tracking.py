"""What a run tells of itself as it goes, and the trackers that write it down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from torch import Tensor

__all__ = [
    "Outcome",
    "Picture",
    "Record",
    "Scalars",
    "Table",
    "Text",
    "TrackedRun",
    "Tracker",
    "Tracking",
    "not_installed",
]

Setting = bool | int | float | str


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """The run that a tracker is opened for."""

    name: str
    """Of its experiment: the recipe's."""
    folder: Path
    """The run's own folder. What a tracker keeps of the run (such as the id that a server gave it) lies there."""
    steps: int = 0
    """0: a new run. Otherwise it goes on after so many steps; of later ones it may have told before it was stopped."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """Those that tell runs apart in a table: the strategy with its options, epochs, batch size, seed."""


@dataclass(frozen=True, kw_only=True)
class Scalars:
    """Numbers of peers at a step, a group of them: losses of a step, figures of a validation, of the test images."""

    group: str
    """`step`, `lr`, `epoch`, `validation`, `time`, `test`."""
    values: Mapping[str, Mapping[str, float]]
    """{peer: {term: number}}; the peer '' is the run as a whole, a term '' is named by its group."""
    step: int

    def named(self) -> Iterator[tuple[str, str, float]]:
        """(peer, `group/term`, number) of each.

        >>> from matx.interfaces import Scalars
        >>> list(Scalars(group="lr", values={"one": {"": 0.1}}, step=10).named())
        [('one', 'lr', 0.1)]
        """
        for peer, terms in self.values.items():
            for term, value in terms.items():
                yield peer, f"{self.group}/{term}" if term else self.group, value


@dataclass(frozen=True, kw_only=True)
class Text:
    """Markdown about the run as a whole."""

    name: str
    markdown: str
    step: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A picture of a peer: clean images, and what attacks make of them, with its answers."""

    name: str
    peer: str
    pixels: Tensor
    """(3, H, W) fp32 in [0,1], on the CPU."""
    step: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table about the run as a whole, such as who is fooled by whose examples."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    step: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the run came to: the means over its scored peers, told last of all."""

    metrics: Mapping[str, float]
    """{`test/union`: number}; the run as a whole was told the same as Scalars of the group `test`."""
    step: int


Record = Scalars | Text | Picture | Table | Outcome
"""What a run tells: a tracker takes what it can show, and leaves the rest."""


@runtime_checkable
class Tracking(Protocol):
    """An open tracker. Whatever it raises is said once, and it is told nothing more; the run goes on."""

    def write(self, record: Record) -> None:
        """Write one record down. Steps never fall between the opening and the closing."""
        ...

    def close(self, *, finished: bool) -> None:
        """The last call. Not finished: the run was stopped or failed, and may be resumed."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """Writes down what a run tells, for others to look at: a frozen, keyword-only dataclass.

    No figure depends on it: whoever resumes a run may choose other trackers. Of several processes one writes.
    """

    def lacks(self) -> str | None:
        """What it needs and does not find, as a sentence with the way out; asked before anything is trained."""
        ...

    def where(self, folder: Path) -> str:
        """Where what it wrote of the run in this folder is found: a path, an address, a command; on one line."""
        ...

    def open(self, run: TrackedRun) -> Tracking:
        """Begin a run, or go on with one that this tracker has begun, so that nothing is there twice."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts, which write into `tmp_path` and ask no other machine."""
        ...


def not_installed(module: str, install: str) -> str | None:
    """The sentence about a module that cannot be imported, with what pip installs it by; None where it is there.

    >>> from matx.interfaces import not_installed
    >>> not_installed("torch", "torch") is None
    True
    >>> not_installed("no_such_module", "matx[mine]")
    "needs the package no_such_module, which is not installed; allowed: pip install 'matx[mine]'"
    """
    if find_spec(module) is not None:
        return None
    return f"needs the package {module}, which is not installed; allowed: pip install '{install}'"
