"""A plug-in: one file that registers one new strategy. Copy it, rename it, change the loss.

matx show strategies.logit_matching --plugin examples/my_strategy.py
matx check strategies.logit_matching --plugin examples/my_strategy.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import matx
from matx import roles
from matx.exchange import Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import Neutral
from matx.losses import cross_entropy, mse
from matx.options import Range


@matx.strategies.register("logit_matching")
@dataclass(frozen=True, kw_only=True)
class LogitMatching:
    """Every trained peer matches the logits of one frozen teacher t on its own examples.

    L_i = CE(f_i(x'_i), y) + weight MSE(f_i(x'_i), f_t(x'_i)), means over classes, batch and views. On clean images: Ba
    and Caruana 2014 (arXiv 1312.6184).
    """

    # Settings under which the losses are those of another strategy, which a contract checks; None: there are none.
    neutral: ClassVar[Neutral | None] = Neutral(settings={"weight": 0.0}, equals="independent")
    # True would promise that no peer has a part of its own, so that renaming the peers renames the losses.
    symmetric: ClassVar[bool] = False

    # Options are fields; their annotation says what gin files, `matx show` and `matx tune` allow.
    teacher: str | None = None
    """The teacher's name; None: the only frozen peer."""
    weight: Annotated[float, Range(0)] = 0.1
    """Weight of the distance between the logits."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """Own examples of every trained peer, and the teacher's logits on them."""
        teacher, students = roles.teacher("logit_matching", self.teacher, peers), roles.trained(peers)
        roles.check_attacked("logit_matching", students)
        # The engine runs what is declared here and nothing else; `loss` can read nothing else.
        return Needs(
            train={student.name: (student.name,) for student in students},
            teach=frozenset((teacher, student.name) for student in students if self.weight),
        )

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Cross-entropy and the distance to the teacher's logits."""
        # Each entry is (views, N, classes) fp32. `logits` carry the gradient of `peer` alone; a teacher's are detached.
        logits = exchange.logits(peer, peer)
        label = cross_entropy(logits, exchange.labels).mean()
        if not self.weight:
            return PeerLoss.of(label=label)
        teacher = roles.teacher("logit_matching", self.teacher, exchange.peers)
        distance = mse(logits, exchange.teacher_logits(teacher, peer)).mean()
        # The loss is the sum of its terms; each is a curve in the run's report under its name.
        return PeerLoss.of(label=label, matching=self.weight * distance)

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One student and two, one teacher."""
        return roles.example_students(self.teacher or "teacher")

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """The default, and a named teacher: the contracts are tried on these."""
        return (cls(), cls(teacher="t", weight=1.0))
