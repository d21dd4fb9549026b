"""AutoAttack: four different searches in a row, each on the samples that are robust to the ones before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx import losses
from matx.errors import OptionError
from matx.interfaces import AttackInput
from matx.options import Range
from matx.threat import ThreatModel
from registry.attacks._boundary import logits_of, only_labels
from registry.attacks.apgd import APGD, APGDObjective
from registry.attacks.fab import FAB
from registry.attacks.square import Square

Version = Literal["standard", "plus", "rand"]


@matx.attacks.register("autoattack")
@dataclass(frozen=True, kw_only=True)
class AutoAttack:
    """AutoAttack (Croce and Hein 2020, arXiv 2003.01690; l1: Croce and Hein 2021, arXiv 2103.01208).

        standard   APGD-CE, APGD-T, FAB-T, Square                        9 targets; in l1 five restarts of APGD-CE and
                                                                         five targets of APGD-T, both in shrinking balls
        plus       APGD-CE, APGD-DLR, FAB, Square, APGD-T, FAB-T         5 restarts of the untargeted; l_inf and l2
        rand       APGD-CE, APGD-DLR                                     `eot` gradients averaged, for random models

    A sample leaves with its first misclassified image inside the threat model; the others keep the image of the largest
    margin, clean or not. Targets are the likeliest other classes of the model's own logits, all of them where there are
    fewer. DLR needs 3 classes and its targeted form 4: with fewer those members maximise the margin instead, the
    targeted one with a restart for each other class.
    """

    threat: ThreatModel
    version: Version = "standard"
    steps: Annotated[int, Range(1)] = 100
    """Of every run of APGD and FAB."""
    queries: Annotated[int, Range(1)] = 5000
    """Of Square."""
    eot: Annotated[int, Range(1)] = 20
    """Gradients averaged by 'rand'."""
    kind: ClassVar[Literal["maximise"]] = "maximise"

    def __post_init__(self) -> None:
        if self.version == "plus" and self.threat.norm == "l1":
            raise OptionError("version", got="'plus' for l1", allowed="'standard', or linf or l2")

    def __call__(self, given: AttackInput) -> Tensor:
        """(N, C, H, W)."""
        only_labels("autoattack", given)
        rows = max(1, len(given.images))
        logits = logits_of(given.model, given.images, rows)
        best, value = given.images.clone(), losses.margin(logits, given.labels)
        robust = logits.argmax(1) == given.labels
        for place, attack in enumerate(self.members(logits.shape[1], rows)):
            left = robust.nonzero()[:, 0]
            if len(left) == 0:
                break
            part = given.select(left)
            found = attack(replace(part, generator=part.generator.at("autoattack", place)))
            inside = self.threat.contains(found, part.images)
            found = torch.where(inside.reshape(-1, 1, 1, 1), found, part.images)
            logits = logits_of(given.model, found, rows)
            reached, fooled = losses.margin(logits, part.labels), logits.argmax(1) != part.labels
            better = fooled | (reached > value[left])
            best[left[better]], value[left[better]] = found[better], reached[better]
            robust[left[fooled]] = False
        return best

    def members(self, classes: int, rows: int = 0) -> tuple[APGD | FAB | Square, ...]:
        """The attacks in their order, for a model of so many classes and at most so many images a forward."""
        threat, steps, wide = self.threat, self.steps, self.threat.norm == "l1"
        restarts = 5 if wide or self.version == "plus" else 1
        eot = self.eot if self.version == "rand" else 1

        def apgd(objective: APGDObjective, restarts: int, targets: int = 9) -> APGD:
            return APGD(
                threat=threat, steps=steps, objective=objective, restarts=restarts, targets=targets, eot=eot,
                epsilon_schedule=wide and self.version == "standard", early_exit=True,
            )  # fmt: skip

        entropy = apgd("cross_entropy", 1 if self.version == "rand" else restarts)
        ratio = apgd("dlr" if classes >= 3 else "margin", 1 if self.version == "rand" else restarts)
        if self.version == "rand":
            return entropy, ratio
        targeted = apgd("targeted_dlr", 1, 5 if wide else 9) if classes >= 4 else apgd("margin", classes - 1)
        fab = FAB(threat=threat, steps=steps, targets=9, stop_inside=True, rows=rows)
        square = Square(threat=threat, queries=self.queries, rows=rows)
        if self.version == "standard":
            return entropy, targeted, fab, square
        untargeted = replace(fab, targets=0, restarts=restarts)
        return entropy, ratio, untargeted, square, targeted, fab

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Each version, at a small fraction of its cost."""
        linf, l2 = (ThreatModel.parse(key) for key in ("linf:8/255", "l2:0.5"))
        return (
            cls(threat=linf, steps=3, queries=4),
            cls(threat=l2, version="plus", steps=1, queries=2),
            cls(threat=linf, version="rand", steps=2, eot=2),
        )
