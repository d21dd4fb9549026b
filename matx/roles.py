"""The roles of a strategy's peers: checks of them, and examples of peers for the contracts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matx.errors import OptionError, did_you_mean
from matx.exchange import PeerInfo
from matx.threat import Norm, ThreatModel

__all__ = [
    "check_attacked",
    "check_averaged",
    "check_frozen_roles",
    "check_trained_roles",
    "example_pairs",
    "example_peer",
    "example_peers",
    "example_students",
    "frozen",
    "peer_named",
    "teacher",
    "trained",
]

_RADII: dict[Norm, float | str] = {"linf": "8/255", "l2": 0.5, "l1": 12}


def trained(peers: Sequence[PeerInfo]) -> tuple[PeerInfo, ...]:
    """The peers that are trained."""
    return tuple(peer for peer in peers if not peer.frozen)


def frozen(peers: Sequence[PeerInfo]) -> tuple[PeerInfo, ...]:
    """The frozen peers: teachers."""
    return tuple(peer for peer in peers if peer.frozen)


def peer_named(where: str, name: str, peers: Sequence[PeerInfo]) -> PeerInfo:
    """The peer of that name; OptionError, at the setting `where`, if there is none."""
    names = [peer.name for peer in peers]
    if name not in names:
        owner, _, parameter = where.rpartition(".")
        allowed = f"{', '.join(names)}{did_you_mean(str(name), names)}"
        raise OptionError(parameter, owner=owner, got=repr(name), allowed=allowed)
    return peers[names.index(name)]


def check_attacked(strategy: str, peers: Sequence[PeerInfo]) -> None:
    """Refuse peers without attacks."""
    for peer in peers:
        if not peer.views:
            raise OptionError(
                "",
                owner=f"strategies.{strategy}",
                got=f"peer {peer.name!r} without attacks",
                allowed="attacks on every peer whose examples it uses; set Peer.attacks",
            )


def check_averaged(strategy: str, peers: Sequence[PeerInfo]) -> None:
    """Refuse peers that keep no moving average of their weights."""
    for peer in peers:
        if not peer.ema:
            raise OptionError(
                "",
                owner=f"strategies.{strategy}",
                got=f"peer {peer.name!r} without a moving average",
                allowed="one on every trained peer; set Peer.ema",
            )


def teacher(strategy: str, name: str | None, peers: Sequence[PeerInfo]) -> str:
    """The name of the frozen peer of that name, or of the only one."""
    candidates = _some_frozen(strategy, peers)
    if name is not None:
        return peer_named(f"strategies.{strategy}.teacher", name, candidates).name
    if len(candidates) > 1:
        found = ", ".join(peer.name for peer in candidates)
        raise OptionError(
            "teacher",
            owner=f"strategies.{strategy}",
            got=f"None and the frozen peers {found}",
            allowed="the name of one of them",
        )
    return candidates[0].name


def check_frozen_roles(strategy: str, peers: Sequence[PeerInfo], **roles: str) -> None:
    """Refuse roles of teachers that no frozen peer has, or that one peer has twice."""
    candidates = _some_frozen(strategy, peers)
    for role, name in roles.items():
        peer_named(f"strategies.{strategy}.{role}", name, candidates)
    _check_distinct(strategy, roles)


def check_trained_roles(strategy: str, peers: Sequence[PeerInfo], **roles: str) -> None:
    """Refuse trained peers that are not exactly those of these roles."""
    for role, name in roles.items():
        peer_named(f"strategies.{strategy}.{role}", name, trained(peers))
    _check_distinct(strategy, roles)
    for peer in trained(peers):
        if peer.name not in roles.values():
            raise OptionError(
                f"strategies.{strategy}: got a trained peer {peer.name!r} without a role, allowed: exactly "
                + ", ".join(f"{role} = {name!r}" for role, name in roles.items())
            )


def _some_frozen(strategy: str, peers: Sequence[PeerInfo]) -> tuple[PeerInfo, ...]:
    if not frozen(peers):
        raise OptionError(
            "", owner=f"strategies.{strategy}", got="no frozen peer", allowed="a teacher; set Peer.frozen and weights"
        )
    return frozen(peers)


def _check_distinct(strategy: str, roles: Mapping[str, str]) -> None:
    if len(set(roles.values())) < len(roles):
        words = ", ".join(f"{role} = {name!r}" for role, name in roles.items())
        raise OptionError("", owner=f"strategies.{strategy}", got=str(words), allowed="a different peer for each role")


def example_peer(
    name: str, *norms: Norm, views: int | None = None, frozen: bool = False, ema: bool = False
) -> PeerInfo:
    """A peer for `example_peers`: one attack for each norm, one view each unless told."""
    threats = tuple(ThreatModel(norm=norm, eps=_RADII[norm]) for norm in norms)
    count = len(norms) if views is None else views
    return PeerInfo(name=name, threats=threats, views=count, says_winners=count > 0, frozen=frozen, ema=ema)


def example_peers(*counts: int) -> tuple[tuple[PeerInfo, ...], ...]:
    """So many like peers, attacked in linf, for each count; and the largest count with two attacks each."""
    alike = [tuple(example_peer(f"p{index}", "linf") for index in range(count)) for count in counts]
    union = tuple(example_peer(f"p{index}", "linf", "l2") for index in range(counts[-1]))
    return (*alike, union)


def example_pairs(natural: str, robust: str) -> tuple[tuple[PeerInfo, ...], ...]:
    """A peer without attacks and one with, in either order, also with two views."""
    first, second = example_peer(natural), example_peer(robust, "linf")
    return ((first, second), (second, first), (first, example_peer(robust, "linf", "l2")))


def example_students(*teachers: str) -> tuple[tuple[PeerInfo, ...], ...]:
    """One student, and two of which one has two views, beside frozen teachers of these names."""
    beside = tuple(example_peer(name, frozen=True) for name in teachers)
    student, union = example_peer("student", "linf"), example_peer("union", "linf", "l2")
    return ((student, *beside), (*beside, student, union))
