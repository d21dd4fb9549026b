"""Small experiments on real images that the tests of run, checkpoints and command line share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor

import matx
from matx.config import Loaded
from matx.experiment import Evaluation, Experiment, Peer
from matx.interfaces import AttackInput
from matx.threat import ThreatModel

QUICK = """# A quick run for tests.
Experiment.dataset = @datasets.digits()
Experiment.peers = {'one': @Peer(), 'two': @Peer()}
Experiment.strategy = @strategies.independent()
Experiment.evaluation = @Evaluation()
Experiment.epochs = 2
Experiment.batch_size = 50
Experiment.train_limit = 150
Evaluation.attacks = [@test/attacks.pgd()]
Evaluation.validation_attacks = [@attacks.pgd()]
Evaluation.validation_images = 20
Evaluation.images = 30
Peer.architecture = @architectures.tiny()
Peer.attacks = [@attacks.pgd()]
Peer.optimizer = @optimizers.sgd()
Peer.schedule = @schedules.cosine()
architectures.tiny.width = 4
attacks.pgd.steps = 2
attacks.pgd.threat = @ThreatModel()
test/attacks.pgd.steps = 3
ThreatModel.norm = 'linf'
ThreatModel.eps = 0.1
"""


def nothing(given: AttackInput) -> None:
    """Let the attack go on."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """PGD that calls `FATE` first, through which a test stops a run wherever it likes."""

    kind: ClassVar[Literal["maximise"]] = "maximise"
    FATE: ClassVar[Callable[[AttackInput], None]] = staticmethod(nothing)

    threat: ThreatModel = field(default_factory=lambda: ThreatModel(norm="linf", eps=0.1))
    steps: int = 2

    def __call__(self, given: AttackInput) -> Tensor:
        type(self).FATE(given)
        found: Tensor = matx.attacks["pgd"](threat=self.threat, steps=self.steps)(given)
        return found

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Watched]:
        return [cls()]


class Judged(Watched):
    """The same, in the final evaluation alone."""

    FATE: ClassVar[Callable[[AttackInput], None]] = staticmethod(nothing)


def sample(**changes: Any) -> Loaded:
    """Two peers, three epochs of four steps, one of them with a moving average; settings may be replaced."""
    peer = Peer(
        architecture=matx.architectures["tiny"](width=4),
        attacks=[Watched()],
        optimizer=matx.optimizers["sgd"](lr=0.05),
        schedule=matx.schedules["cosine"](),
    )
    experiment = Experiment(
        dataset=matx.datasets["digits"](),
        peers={"one": replace(peer, ema=0.9), "two": peer},
        strategy=matx.strategies["independent"](),
        evaluation=Evaluation(
            attacks=[Judged(steps=3)], validation_attacks=[Watched(steps=3)], validation_images=20, images=30
        ),
        epochs=3,
        batch_size=50,
        train_limit=200,
    )
    return Loaded(experiment=replace(experiment, **changes), text="# built in Python\n", resolved={}, name="sample")


def kill_at(step: int) -> Callable[[AttackInput], None]:
    """Die by SIGKILL in that step, as when the power goes."""

    def fate(given: AttackInput) -> None:
        if given.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return fate
