"""AdaAD: crafting maximises the gap between student and teacher, through both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import matx
from matx import roles
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput, Model, Neutral, Objective
from matx.losses import kl_divergence
from matx.options import Range
from registry.strategies import _objectives


@matx.strategies.register("adaad")
@dataclass(frozen=True, kw_only=True)
class AdaAD:
    """Adaptive adversarial distillation (Huang et al. 2023, CVPR) from a frozen teacher t.

    L_s = alpha KL(p_t(x') || p_s(x')) + (1 - alpha) KL(p_t(x) || p_s(x)),  x' = argmax KL(p_t(x') || p_s(x')),

    the gradient in crafting through both networks: a moving target. Published alpha 1, temperature 1, 10 steps of 2/255
    (or radius 16/255 with steps of 4/255) from x + 0.001 N(0,1). The released code takes the element-wise mean of KL on
    CIFAR-10 and the batch mean on CIFAR-100: `elementwise` divides by the classes (0.1 effective on CIFAR-10). With
    SGD the factor acts like a smaller learning rate. Every peer that is not frozen is a student of its own.
    """

    neutral: ClassVar[Neutral | None] = None
    symmetric: ClassVar[bool] = False

    teacher: str | None = None
    """The teacher's name; None: the only frozen peer."""
    alpha: Annotated[float, Range(0, 1)] = 1.0
    """The share of examples beside clean images."""
    elementwise: bool = True
    """True: KL over the number of classes, as released for CIFAR-10; False: the batch mean, as for CIFAR-100."""
    crafting: Literal["published", "attack"] = "published"
    """What attacks maximise: 'published' (the gap between the two) or 'attack' (the attack's own objective)."""

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        """The students on their examples and clean images, and the teacher's logits on both, where they count."""
        name, students = roles.teacher("adaad", self.teacher, peers), roles.trained(peers)
        roles.check_attacked("adaad", students)
        train = {student.name: tuple(self._weights(student.name)) for student in students}
        crafted = [student.name for student in students if self.alpha and self.crafting == "published"]
        return Needs(
            train=train,
            teach=frozenset((name, source) for sources in train.values() for source in sources),
            craft=dict.fromkeys(crafted, (name,)),
        )

    def objective(self, peer: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        """KL(p_t(x') || p_s(x')), the gradient through both."""
        (name,) = (other for other in models if other != peer)
        return _objectives.kl_between(models[name], models[peer])

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        """Divergences from the teacher on the same images."""
        name = roles.teacher("adaad", self.teacher, exchange.peers)
        scale = 1.0 / exchange.num_classes if self.elementwise else 1.0
        names = {CLEAN: "clean", peer: "distillation"}
        terms = {
            names[source]: weight
            * scale
            * kl_divergence(exchange.teacher_logits(name, source), exchange.logits(peer, source)).mean()
            for source, weight in self._weights(peer).items()
        }
        return PeerLoss.of(**terms)

    def _weights(self, student: str) -> dict[str, float]:
        """{source: weight}, those of weight 0 left out."""
        return {s: weight for s, weight in {student: self.alpha, CLEAN: 1.0 - self.alpha}.items() if weight}

    def example_peers(self) -> Sequence[tuple[PeerInfo, ...]]:
        """One student and two, one teacher."""
        return roles.example_students(self.teacher or "teacher")

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """As published, and with clean images and the batch mean."""
        return (cls(), cls(alpha=0.5, elementwise=False, crafting="attack", teacher="t"))
