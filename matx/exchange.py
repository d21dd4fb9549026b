"""What peers share in a step: first declared as plain data (Needs), then read from a table (Exchange)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from matx.errors import ExchangeError
from matx.threat import ThreatModel

__all__ = ["CLEAN", "Crafted", "Exchange", "Mix", "Needs", "PeerInfo", "PeerLoss", "State"]

CLEAN = "clean"
"""The source that holds the batch's clean images; any other source is a peer's name: the examples crafted on it."""

State = Mapping[str, Tensor | float]
"""What a stateful component remembers between steps: tensors and numbers, owned and checkpointed by the engine."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crafted:
    """What a peer's attacks made of one batch."""

    views: Tensor
    """(views, N, C, H, W) examples."""
    winners: Tensor | None = None
    """(views, N, attacks): which attack each example came from, 1 for it and 0 for the others. Where several are worst
    by exactly the same loss, each has an equal share. None: the union does not say."""
    state: State = field(default_factory=dict)
    """The union's new state; empty without a union."""


@dataclass(frozen=True, kw_only=True)
class PeerInfo:
    """What a strategy may know of a declared peer before training.

    >>> import matx
    >>> matx.PeerInfo(name="a", views=1).own_source, matx.PeerInfo(name="b").own_source
    ('a', 'clean')
    """

    name: str
    threats: tuple[ThreatModel, ...] = ()
    """The threat models of its attacks, in order: one makes a specialist, several a generalist, none a natural peer."""
    views: int = 0
    """How many views its examples have: one per attack under `average`, 1 under `worst_case`, 0 without attacks."""
    says_winners: bool = False
    """True: it is known which attack each of its examples came from (`Needs.winners`)."""
    frozen: bool = False
    """True: a teacher with given weights that is never trained."""
    ema: bool = False
    """True: the peer keeps an exponential moving average of its weights, which may teach (`Needs.ema`)."""

    @property
    def own_source(self) -> str:
        """What it learns from by itself: its examples, or clean images where nothing attacks it."""
        return self.name if self.views else CLEAN


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Weights that are made from others' weights: sum_m share_m w_m over the members, all as they are at that time.

    >>> import matx
    >>> matx.Mix(members={"a": 0.5, "b": 0.5}).every
    1
    """

    members: Mapping[str, float]
    """{peer: share}; shares are 0 or more and sum to 1."""
    every: int = 1
    """After every so many epochs."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The forwards that a strategy needs, as plain data. A source is a peer's name (its examples) or CLEAN.

    >>> import matx
    >>> needs = matx.Needs(train={"a": ("a",), "b": ("b",)}, teach=frozenset({("a", "b")}))
    >>> needs.train["a"], ("a", "b") in needs.teach
    (('a',), True)
    """

    train: Mapping[str, tuple[str, ...]]
    """{peer: sources}: forwards with gradient, in train mode; every peer that is neither frozen nor only mixed."""
    teach: frozenset[tuple[str, str]] = frozenset()
    """{(peer, source)}: a peer's detached logits on a source, for others to learn from."""
    ema: frozenset[tuple[str, str]] = frozenset()
    """{(peer, source)}: the detached logits of the moving average of a peer's weights."""
    craft: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{peer: other peers}: the strategy supplies the objective of `peer`'s attacks; it calls the others' models."""
    winners: frozenset[str] = frozenset()
    """{peer}: which attack each of its examples came from."""
    couples: tuple[tuple[str, ...], ...] = ()
    """Groups of peers whose losses reach one another's parameters (none, unless the method says so)."""
    mix: Mapping[str, Mix] = field(default_factory=dict)
    """{peer: Mix}: after epochs the peer's weights become an average of its members'. A peer that is mixed need not be
    trained. A peer and those it is mixed of start from the same weights (of the first member) unless they have some."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PeerLoss:
    """One peer's loss: a scalar to descend on, its parts for the log, and the strategy's new state if it has one.

    >>> import torch, matx
    >>> loss = matx.PeerLoss.of(label=torch.tensor(1.0), distillation=torch.tensor(0.5))
    >>> float(loss.total), sorted(loss.terms)
    (1.5, ['distillation', 'label'])
    """

    total: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    state: State | None = None

    @classmethod
    def of(cls, **terms: Tensor) -> PeerLoss:
        """The loss that is the sum of its terms, logged detached."""
        total = sum(list(terms.values())[1:], next(iter(terms.values())))
        return cls(total=total, terms={name: term.detach() for name, term in terms.items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class Exchange:
    """The read-only table that a strategy's loss reads. Reading what was not declared is an ExchangeError.

    Every entry is (views, N, classes) fp32; CLEAN has one view. Entries broadcast over views.

    >>> import torch, matx
    >>> logits = {("a", "clean"): torch.zeros(1, 4, 10)}
    >>> table = matx.Exchange(
    ...     labels=torch.arange(4), num_classes=10, epoch=0, step=0, progress=0.0,
    ...     peers=(matx.PeerInfo(name="a"),), train=logits,
    ... )
    >>> table.logits("a", matx.CLEAN).shape
    torch.Size([1, 4, 10])
    """

    labels: Tensor
    """(N,) int64."""
    num_classes: int
    epoch: int
    step: int
    """Steps taken since the start of training."""
    progress: float
    """0 at the first step of training, 1 at its end."""
    peers: tuple[PeerInfo, ...] = ()
    """The peers as `needs` saw them, in declared order, so that a loss knows roles and threat models."""
    state: State = field(default_factory=dict)
    """The strategy's state, from `start()` or the last PeerLoss that carried one."""
    train: Mapping[tuple[str, str], Tensor] = field(default_factory=dict)
    teach: Mapping[tuple[str, str], Tensor] = field(default_factory=dict)
    ema: Mapping[tuple[str, str], Tensor] = field(default_factory=dict)
    """{(peer, source): logits}, as `Needs` declares them under these names; a loss reads them by the methods."""
    winners: Mapping[str, Tensor] = field(default_factory=dict)
    """{peer: (views, N, attacks)} of the peers in `Needs.winners`."""

    def info(self, peer: str) -> PeerInfo:
        """What is known of a peer."""
        return next(info for info in self.peers if info.name == peer)

    def logits(self, peer: str, source: str) -> Tensor:
        """Training logits on a source, with gradient: of the peer at hand, or of one coupled to it."""
        return _read(self.train, peer, source, "Needs.train")

    def teacher_logits(self, peer: str, source: str) -> Tensor:
        """A peer's detached logits on a source."""
        return _read(self.teach, peer, source, "Needs.teach")

    def ema_teacher_logits(self, peer: str, source: str) -> Tensor:
        """The detached logits of the moving average of a peer's weights on a source."""
        return _read(self.ema, peer, source, "Needs.ema")

    def winners_of(self, peer: str) -> Tensor:
        """(views, N, attacks): the attack that each of a peer's examples came from, as shares that sum to 1."""
        if peer not in self.winners:
            known = ", ".join(self.winners) or "nobody"
            raise ExchangeError(
                f"exchange: the winners of peer {peer!r} were read, but are not declared in Needs.winners; "
                f"readable here: {known}"
            )
        return self.winners[peer]


def _read(table: Mapping[tuple[str, str], Tensor], peer: str, source: str, where: str) -> Tensor:
    if (peer, source) not in table:
        known = ", ".join(f"{p} on {s}" for p, s in table) or "nothing"
        raise ExchangeError(
            f"exchange: peer {peer!r} on source {source!r} was read, but is not declared in {where} for this loss; "
            f"readable here: {known}"
        )
    return table[peer, source]
