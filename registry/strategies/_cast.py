"""What the strategies share: checks of options, who is who among the peers, and example peers for the contracts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from matx.errors import OptionError, did_you_mean
from matx.exchange import CLEAN, Exchange, PeerInfo
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


def logged(**terms: Tensor) -> dict[str, Tensor]:
    """The terms of a loss for the log: detached."""
    return {name: term.detach() for name, term in terms.items()}


def example_peer(name: str, *norms: str, views: int | None = None, frozen: bool = False, ema: bool = False) -> PeerInfo:
    """A peer for casts: one attack for each norm, one view each unless told."""
    threats = tuple(ThreatModel(norm=norm, eps=_RADII[norm]) for norm in norms)
    return PeerInfo(name=name, threats=threats, views=len(norms) if views is None else views, frozen=frozen, ema=ema)


def example_casts(*counts: int) -> tuple[tuple[PeerInfo, ...], ...]:
    """Casts of so many like peers, attacked in linf, and the largest again with peers that face two attacks."""
    alike = [tuple(example_peer(f"p{index}", "linf") for index in range(count)) for count in counts]
    union = tuple(example_peer(f"p{index}", "linf", "l2") for index in range(counts[-1]))
    return (*alike, union)
