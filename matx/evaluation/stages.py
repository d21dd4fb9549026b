"""An evaluation drawn on one bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matx.measure import CLEAN_STAGE
from matx.runtime.progress import Bar

__all__ = ["Stages"]


@dataclass(eq=False)
class Stages:
    """Draws an evaluation (the `Progress` that `evaluate` tells) on a bar of peers times attacks."""

    bar: Bar
    peers: Sequence[str]
    attacks: int
    stage: int = 0
    """Of the peer at hand: 0 while clean images are classified, then the number of the attack."""
    last: tuple[str, str, str, int] = ("", "", "", 0)

    @property
    def total(self) -> int:
        """How many attacks there are on all peers."""
        return len(self.peers) * max(1, self.attacks)

    def __call__(self, peer: str, threat: str, attack: str, done: int, total: int) -> None:
        name = attack.partition(" ")[0]  # of an attack made of several searches, the one at hand stands behind
        if threat == CLEAN_STAGE:
            self.stage = 0
        elif (peer, threat, name) != self.last[:3] or done <= self.last[3]:
            self.stage += 1
        self.last = (peer, threat, name, done)
        share = (done / total if total else 1.0) if self.stage or not self.attacks else 0.0
        at = self.peers.index(peer) * max(1, self.attacks) + max(0, self.stage - 1) + share
        finished = done == total and (self.stage > 0 or not self.attacks)
        images = f" {done}/{total}" if total and not finished else ""
        self.bar(round(at, 3), f"{peer} {threat} {attack}".rstrip() + images, line=finished)
