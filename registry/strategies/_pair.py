"""A natural and a robust network, trained at once: what the strategies for such a pair share."""

from __future__ import annotations

from collections.abc import Sequence

from matx import roles
from matx.exchange import CLEAN, PeerInfo


def train_of(
    strategy: str, peers: Sequence[PeerInfo], natural: str, robust: str, *, robust_clean: bool = False
) -> dict[str, tuple[str, ...]]:
    """`Needs.train`: the natural peer on clean images, the robust one on its examples and, if asked, on clean images.

    Peers that are not exactly these two, and a robust one without attacks, are refused.
    """
    roles.check_trained_roles(strategy, peers, natural=natural, robust=robust)
    roles.check_attacked(strategy, [peer for peer in peers if peer.name == robust])
    sources = {natural: (CLEAN,), robust: (robust, CLEAN) if robust_clean else (robust,)}
    return {peer.name: sources[peer.name] for peer in roles.trained(peers)}
