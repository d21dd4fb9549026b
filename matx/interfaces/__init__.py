"""The contracts between the mechanism and the registered components: what each kind is given and must return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from matx.data import Data
from matx.exchange import Crafted, Exchange, Needs, PeerInfo, PeerLoss, State
from matx.interfaces.attack_input import (
    OBJECTIVES,
    AttackInput,
    CraftingModel,
    FreeObjective,
    LogitObjective,
    Model,
    Objective,
    ObjectiveName,
    judge_of,
    value_and_gradient,
)
from matx.interfaces.inputs import copied, default_type_kept, refuse_writes
from matx.interfaces.library import FromLibrary, Library, LibraryForm
from matx.interfaces.metrics import Column, Figure, Findings, Metric, MetricSettings, Search
from matx.interfaces.running import checked_examples, found_anywhere, run_attack
from matx.interfaces.tracking import (
    Outcome,
    Picture,
    Record,
    Scalars,
    Table,
    Text,
    TrackedRun,
    Tracker,
    Tracking,
    not_installed,
)
from matx.interfaces.training import Augmentation, Optimizer, Schedule
from matx.threat import ThreatModel

__all__ = [
    "OBJECTIVES",
    "Architecture",
    "Attack",
    "AttackInput",
    "Augmentation",
    "Column",
    "Composite",
    "Crafted",
    "CraftingModel",
    "Dataset",
    "Figure",
    "Findings",
    "FirstOrderAttack",
    "FreeObjective",
    "FromLibrary",
    "HasNames",
    "Library",
    "LibraryForm",
    "LogitObjective",
    "Metric",
    "MetricSettings",
    "Model",
    "Neutral",
    "Objective",
    "ObjectiveName",
    "ObjectiveStrategy",
    "Optimizer",
    "Outcome",
    "PerturbationUnion",
    "Picture",
    "Record",
    "Scalars",
    "Schedule",
    "Search",
    "Stateful",
    "Strategy",
    "Table",
    "Text",
    "TrackedRun",
    "Tracker",
    "Tracking",
    "UsesSources",
    "checked_examples",
    "copied",
    "default_type_kept",
    "found_anywhere",
    "judge_of",
    "not_installed",
    "refuse_writes",
    "run_attack",
    "sources_of",
    "value_and_gradient",
]


@runtime_checkable
class Attack(Protocol):
    """A search inside a threat model, configured once and called many times: a frozen, keyword-only dataclass.

    `kind` says what becomes of a result outside the threat model: a `maximise` attack's is projected; a `minimum_norm`
    attack searches freely, and the clean image takes the place of a result outside. FirstOrderAttack, Composite and
    UsesSources are what some attacks can do beyond that.
    """

    kind: ClassVar[Literal["maximise", "minimum_norm"]]

    @property
    def threat(self) -> ThreatModel:
        """The allowed set."""
        ...

    def __call__(self, given: AttackInput) -> Tensor:
        """(N, C, H, W) images."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts, one for each way of use; files that they need may be made in `tmp_path`."""
        ...


@runtime_checkable
class FirstOrderAttack(Attack, Protocol):
    """An attack that moves along one gradient at a time, so that a union can drive several with the same gradient."""

    def init(self, given: AttackInput) -> Tensor:
        """(N, C, H, W): where the search starts."""
        ...

    def step(self, given: AttackInput, images: Tensor, gradient: Tensor, iteration: int) -> Tensor:
        """(N, C, H, W): one move from `images` along the gradient of the objective, inside threat model and box."""
        ...


@runtime_checkable
class Composite(Protocol):
    """What an attack made of other attacks offers: they can be run one by one."""

    def members(self, classes: int, rows: int = 0) -> Sequence[Attack]:
        """The attacks in their order, for a model of so many classes; at most `rows` images a forward (0: any)."""
        ...


@runtime_checkable
class UsesSources(Protocol):
    """What an attack that reads other peers' examples declares."""

    @property
    def sources(self) -> Sequence[str]:
        """The peers whose examples it reads; they are crafted first; `AttackInput.sources` holds them."""
        ...


@runtime_checkable
class HasNames(Protocol):
    """A component class of many things with names of their own: the networks of a library, data in a file."""

    @classmethod
    def options_for(cls, name: str) -> Mapping[str, Any] | None:
        """The options under which it is what the name says; None where it has no such thing."""
        ...


def sources_of(attack: Attack) -> tuple[str, ...]:
    """The peers whose examples an attack reads; none for most attacks."""
    return tuple(attack.sources) if isinstance(attack, UsesSources) else ()


@runtime_checkable
class Stateful(Protocol):
    """A component with memory; the engine owns the state, checkpoints it and passes it in again.

    Where several processes share a batch, what each has changed is summed, as counts are; with a class variable
    `averages_state = True` it is averaged, weighted by their images, as weights are.
    """

    def start(self) -> State:
        """The state before training."""
        ...


@runtime_checkable
class PerturbationUnion(Stateful, Protocol):
    """Attacks faced together. It runs them by `run_attack(attack, given)`, which checks what they return."""

    says_winners: ClassVar[bool]
    """True: it says of every example which attack it came from (`Crafted.winners`), as some strategies need."""

    def views(self, count: int) -> int:
        """How many views so many attacks give."""
        ...

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: State) -> Crafted:
        """Views, winners and new state. A union without memory starts with {} and returns the state as it is."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts."""
        ...


@dataclass(frozen=True, kw_only=True)
class Neutral:
    """Settings under which a strategy equals another one: `strategy(**settings) == equals(**others)`.

    >>> import matx
    >>> matx.Neutral(settings={"alpha": 0.0}, equals="independent").equals
    'independent'
    """

    settings: Mapping[str, Any]
    equals: str
    others: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Strategy(Protocol):
    """Who teaches whom: declares its needs as plain data, then gives one peer's loss at a time."""

    neutral: ClassVar[Neutral | None]
    symmetric: ClassVar[bool]
    """True: renaming the peers renames the losses."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """The forwards that it wants of these peers; an OptionError for peers that it does not admit."""
        ...

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """The loss of one trained peer, from declared entries only."""
        ...

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """Examples of the peers that it admits, one for each count and set of roles, for the contracts."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts."""
        ...


@runtime_checkable
class ObjectiveStrategy(Protocol):
    """A strategy that also says what its peers' attacks maximise (for the peers that `Needs.craft` names)."""

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """What the attack on `peer` maximises; `models` holds its own and those that `Needs.craft` names."""
        ...


@runtime_checkable
class Architecture(Protocol):
    """A recipe for a network that takes images in [0,1], normalised outside of it, and gives logits."""

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """A fresh network for (C, H, W) images; ModelError where it cannot take them."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """A source of labelled images."""

    def __call__(self) -> Data:
        """Its splits; DataError where they are missing or malformed."""
        ...

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Instances for the contracts, made of files in `tmp_path` where it reads files; never a download."""
        ...
