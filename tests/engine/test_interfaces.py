"""The interfaces carry what later methods need: a soft target, a moving target of two models, one gradient for several
norms, a peer's finished examples, weight perturbation on all of them. Each is sketched here in a few lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor

import matx
from matx.craft import attackable, craft
from matx.engine import Training, step
from matx.errors import OptionError
from matx.exchange import CLEAN, Crafted, Exchange, Needs, PeerInfo, PeerLoss, State
from matx.interfaces import Attack, AttackInput, FreeObjective, LogitObjective, Model, Objective, value_and_gradient
from matx.losses import cross_entropy, distillation, kl_divergence
from matx.randomness import SampleGenerator
from matx.threat import ThreatModel
from tests.engine.world import L2, LINF, first_batch, peer, pgd, run, same, weights

Launch = Callable[..., Training]
L1 = ThreatModel(norm="l1", eps=2.0)


@dataclass(frozen=True, kw_only=True)
class SoftTarget:
    """RSLAD's shape: the student's examples maximise KL(p_t(x) || p_s(x')), the loss is that KL."""

    moving: bool = False
    neutral: ClassVar[None] = None
    symmetric: ClassVar[bool] = False

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return Needs(
            train={"student": ("student",), "teacher": (CLEAN,)},
            teach=frozenset({("teacher", CLEAN)}),
            craft={"student": ("teacher",)},
        )

    def objective(self, name: str, given: AttackInput, models: Mapping[str, Model]) -> Objective:
        student, teacher = models["student"], models["teacher"]
        if self.moving:
            return FreeObjective(lambda images: kl_divergence(teacher(images), student(images)))
        with torch.no_grad():
            target = teacher(given.images)
        return LogitObjective(student, lambda logits, target: kl_divergence(target, logits), {"target": target})

    def loss(self, exchange: Exchange, name: str) -> PeerLoss:
        if name == "teacher":
            return PeerLoss(total=cross_entropy(exchange.logits(name, CLEAN), exchange.labels).mean())
        distilled = distillation(exchange.logits(name, name), exchange.teacher_logits("teacher", CLEAN)).mean()
        return PeerLoss(total=distilled, terms={"distilled": distilled})


@dataclass(frozen=True, kw_only=True)
class Steepest:
    """MSD's shape: one gradient, a candidate step per member, the worst kept, the best seen returned."""

    says_winners: ClassVar[bool] = False

    def start(self) -> State:
        return {}

    def views(self, count: int) -> int:
        return 1

    def __call__(self, attacks: Sequence[Any], given: AttackInput, state: State) -> Crafted:
        objective = given.objective_for("cross_entropy")
        images = best = given.images
        highest = torch.full((len(images),), -torch.inf)
        for iteration in range(attacks[0].steps):
            _, gradient = value_and_gradient(objective, images)
            candidates = torch.stack([attack.step(given, images, gradient, iteration) for attack in attacks])
            with torch.no_grad():
                values = torch.stack([objective(candidate) for candidate in candidates])
            worst = values.argmax(0)
            images = candidates[worst, torch.arange(len(worst))]
            value = values.amax(0)
            best = torch.where((value > highest).reshape(-1, 1, 1, 1), images, best)
            highest = torch.maximum(highest, value)
        return Crafted(views=best[None], state=state)


@dataclass(frozen=True, kw_only=True)
class Copycat:
    """Transfer's shape: another peer's finished examples."""

    kind: ClassVar[Literal["maximise"]] = "maximise"
    threat: ThreatModel
    sources: tuple[str, ...]

    def __call__(self, given: AttackInput) -> Tensor:
        return given.sources[self.sources[0]][0]


@pytest.mark.parametrize("moving", [False, True], ids=["a teacher's soft answer", "a moving target of two models"])
@pytest.mark.parametrize("gamma", [0.0, 0.01], ids=["plain", "with weight perturbation"])
def test_a_strategy_says_what_is_maximised(launch: Launch, moving: bool, gamma: float) -> None:
    peers = {"student": peer(LINF, weight_perturbation=gamma), "teacher": peer()}
    training = launch(SoftTarget(moving=moving), peers)
    batch = first_batch(training)
    labels_only = launch(SoftTarget(moving=moving), peers)
    record = step(training, batch)
    assert record.losses["student"]["distilled"] > 0, "the student's examples do not differ from the teacher's logits"
    with (
        attackable(labels_only.learners["student"].module) as student,
        attackable(labels_only.learners["teacher"].module) as teacher,
    ):
        given = AttackInput(
            model=student, images=batch.images, labels=batch.labels, generator=SampleGenerator(1, batch.indices)
        )
        models = {"student": student, "teacher": teacher}
        strategy = SoftTarget(moving=moving)
        own = craft(given, [pgd(LINF, steps=5)], None)
        attacks = [pgd(LINF, steps=5)]
        supplied = craft(given, attacks, None, objective=lambda a: strategy.objective("student", a, models))
        objective = strategy.objective("student", given, models)
        with torch.no_grad():
            reached, before = objective(supplied.views[0]).mean(), objective(own.views[0]).mean()
    assert reached > before, f"maximising the objective reached {reached:.4f}, not above the labels' {before:.4f}"


def test_one_gradient_drives_several_norms(launch: Launch) -> None:
    training = launch(
        matx.strategies["independent"](), {"a": peer(LINF, L2, L1, union=Steepest(), weight_perturbation=0.01)}
    )
    before = weights(training, "a")
    run(training, 1)
    assert not same(before, weights(training, "a")), "training on the union moved nothing"


def test_sources_are_crafted_first_and_cycles_are_refused(launch: Launch) -> None:
    independent = matx.strategies["independent"]()
    copy: Attack = Copycat(threat=LINF, sources=("b",))
    training = launch(independent, {"a": peer(attacks=[copy]), "b": peer(LINF)})
    record = run(training, 1)[0]
    assert set(record.losses) == {"a", "b"}, "a peer that copies examples was not trained"
    validated = run(launch(independent, {"a": peer(attacks=[copy]), "b": peer(LINF)}, epochs=1))[-1].validation
    assert set(validated) == {"a", "b"}, "a peer that copies examples was not validated, for nobody crafts them there"
    back: Attack = Copycat(threat=LINF, sources=("a",))
    with pytest.raises(OptionError, match="cycle of attacks"):
        launch(independent, {"a": peer(attacks=[copy]), "b": peer(attacks=[back])})
    with pytest.raises(OptionError, match="did you mean 'b'"):
        launch(independent, {"a": peer(attacks=[replace(copy, sources=("bb",))]), "b": peer(LINF)})


def test_state_is_given_back_and_checkpointed(launch: Launch) -> None:
    """A stateful strategy's state of one step is what the next one reads."""

    class Counting:
        neutral, symmetric = None, True

        def start(self) -> dict[str, float]:
            return {"steps": 0.0}

        def needs(self, peers: Sequence[PeerInfo]) -> Needs:
            return Needs(train={"a": (CLEAN,)})

        def loss(self, exchange: Exchange, name: str) -> PeerLoss:
            count = float(exchange.state["steps"])
            total = cross_entropy(exchange.logits(name, CLEAN), exchange.labels).mean()
            return PeerLoss(total=total, state={"steps": count + 1.0})

    training = launch(Counting(), {"a": peer()})
    run(training, 2)
    assert training.state_dict()["states"]["strategy"] == {"steps": 2.0}, "the state did not survive two steps"
