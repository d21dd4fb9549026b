"""What the strategies share: checks of options, who is who among the peers, and example peers for the contracts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from matx.errors import OptionError, did_you_mean
from matx.exchange import CLEAN, Exchange, PeerInfo, PeerLoss
from matx.losses import cross_entropy
from matx.threat import ThreatModel

_RADII: dict[str, float | str] = {"linf": "8/255", "l2": 0.5, "l1": 12}


def check_weights(strategy: str, **values: float) -> None:
    """Refuse a weight that is not a finite number of 0 or more."""
    for name, value in values.items():
        if not 0.0 <= value < math.inf:
            raise OptionError(f"strategies.{strategy}.{name}: got {value}, allowed: a number of 0 or more")


def check_shares(strategy: str, **values: float) -> None:
    """Refuse a share outside [0, 1]."""
    for name, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise OptionError(f"strategies.{strategy}.{name}: got {value}, allowed: 0 to 1")


def check_positive(strategy: str, **values: float) -> None:
    """Refuse a number that is not over 0 and finite."""
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise OptionError(f"strategies.{strategy}.{name}: got {value}, allowed: a number over 0")


def check_smoothing(strategy: str, value: float) -> None:
    """Refuse a label smoothing outside [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise OptionError(f"strategies.{strategy}.smoothing: got {value}, allowed: 0 up to but not including 1")


def one_of(where: str, got: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is not among the allowed ones."""
    if got not in allowed:
        raise OptionError(f"{where}: got {got!r}, allowed: {', '.join(allowed)}{did_you_mean(str(got), allowed)}")


def learners(peers: Sequence[PeerInfo]) -> tuple[PeerInfo, ...]:
    """The peers that are trained."""
    return tuple(peer for peer in peers if not peer.frozen)


def teachers(peers: Sequence[PeerInfo]) -> tuple[PeerInfo, ...]:
    """The frozen peers."""
    return tuple(peer for peer in peers if peer.frozen)


def named(where: str, name: str, peers: Sequence[PeerInfo]) -> PeerInfo:
    """The peer of that name."""
    one_of(where, name, [peer.name for peer in peers])
    return next(peer for peer in peers if peer.name == name)


def check_attacked(strategy: str, peers: Sequence[PeerInfo]) -> None:
    """Refuse peers without attacks."""
    for peer in peers:
        if not peer.views:
            raise OptionError(
                f"strategies.{strategy}: got peer {peer.name!r} without attacks, allowed: attacks on every peer whose "
                "examples it uses; set Peer.attacks"
            )


def own_source(peer: PeerInfo) -> str:
    """The source that a peer learns from by itself: its examples, or clean images where nothing attacks it."""
    return peer.name if peer.views else CLEAN


def info(exchange: Exchange, name: str) -> PeerInfo:
    """What is known of a peer."""
    return next(peer for peer in exchange.peers if peer.name == name)


def _frozen(strategy: str, peers: Sequence[PeerInfo]) -> tuple[PeerInfo, ...]:
    """The frozen peers; refused where there are none."""
    frozen = teachers(peers)
    if not frozen:
        raise OptionError(f"strategies.{strategy}: got no frozen peer, allowed: a teacher; set Peer.frozen and weights")
    return frozen


def teacher(strategy: str, name: str | None, peers: Sequence[PeerInfo]) -> str:
    """The frozen peer of that name, or the only one."""
    frozen = _frozen(strategy, peers)
    if name is not None:
        return named(f"strategies.{strategy}.teacher", name, frozen).name
    if len(frozen) > 1:
        found = ", ".join(peer.name for peer in frozen)
        raise OptionError(
            f"strategies.{strategy}.teacher: got None and the frozen peers {found}, allowed: the name of one of them"
        )
    return frozen[0].name


def frozen_roles(strategy: str, peers: Sequence[PeerInfo], **roles: str) -> None:
    """Refuse roles of teachers that no frozen peer has, or that one peer has twice."""
    frozen = _frozen(strategy, peers)
    for role, name in roles.items():
        named(f"strategies.{strategy}.{role}", name, frozen)
    _apart(strategy, roles)


def trained_roles(strategy: str, peers: Sequence[PeerInfo], **roles: str) -> None:
    """Refuse trained peers that are not exactly those of these roles."""
    found = [peer.name for peer in learners(peers)]
    for role, name in roles.items():
        one_of(f"strategies.{strategy}.{role}", name, found)
    _apart(strategy, roles)
    for name in found:
        if name not in roles.values():
            raise OptionError(
                f"strategies.{strategy}: got a trained peer {name!r} without a role, allowed: exactly "
                + ", ".join(f"{role} = {name!r}" for role, name in roles.items())
            )


def _apart(strategy: str, roles: dict[str, str]) -> None:
    if len(set(roles.values())) < len(roles):
        words = ", ".join(f"{role} = {name!r}" for role, name in roles.items())
        raise OptionError(f"strategies.{strategy}: got {words}, allowed: a different peer for each role")


def ce(exchange: Exchange, peer: str, source: str, *, smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy of a peer's training logits on a source."""
    return cross_entropy(exchange.logits(peer, source), exchange.labels, smoothing=smoothing).mean()


def composed(**terms: Tensor) -> PeerLoss:
    """The loss that is the sum of its terms, logged detached."""
    parts = list(terms.values())
    return PeerLoss(total=sum(parts[1:], parts[0]), terms={name: term.detach() for name, term in terms.items()})


def example_peer(name: str, *norms: str, views: int | None = None, frozen: bool = False, ema: bool = False) -> PeerInfo:
    """A peer for example_peers: one attack for each norm, one view each unless told."""
    threats = tuple(ThreatModel(norm=norm, eps=_RADII[norm]) for norm in norms)
    return PeerInfo(name=name, threats=threats, views=len(norms) if views is None else views, frozen=frozen, ema=ema)


def example_casts(*counts: int) -> tuple[tuple[PeerInfo, ...], ...]:
    """Casts of so many like peers, attacked in linf, and the largest again with peers that face two attacks."""
    alike = [tuple(example_peer(f"p{index}", "linf") for index in range(count)) for count in counts]
    union = tuple(example_peer(f"p{index}", "linf", "l2") for index in range(counts[-1]))
    return (*alike, union)


def taught_casts(*names: str) -> tuple[tuple[PeerInfo, ...], ...]:
    """Casts of one student and of two, one of them with two views, beside frozen teachers of these names."""
    frozen = tuple(example_peer(name, frozen=True) for name in names)
    student, union = example_peer("student", "linf"), example_peer("union", "linf", "l2")
    return ((student, *frozen), (*frozen, student, union))
