"""The engine's step against a plain loop: order, what losses reach, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import matx
from matx.craft import attackable, untouched
from matx.engine import step
from matx.errors import ExchangeError, OptionError, RunError
from matx.exchange import CLEAN, Exchange, Needs
from matx.interfaces import AttackInput
from matx.losses import cross_entropy, distillation
from matx.randomness import SampleGenerator, hashed
from tests.engine.world import L2, LINF, Launch, Probe, first_batch, independent, mat, peer, run, same, weights


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_step_equals_a_plain_loop(launch: Launch, mode: str) -> None:
    peers = {"a": peer(LINF), "b": peer(L2)}
    training, twin = (launch(mat(alpha=0.3, beta=0.4), peers, teacher_mode=mode) for _ in range(2))
    batch = first_batch(training)
    step(training, batch)

    # The same step by hand: craft, teacher logits of both before any update, two losses, two updates.
    images, teacher_logits = {}, {}
    for name, learner in twin.learners.items():
        with attackable(learner.module) as model:
            given = AttackInput(
                model=model,
                images=batch.images,
                labels=batch.labels,
                generator=SampleGenerator(hashed(0, "craft", 0, name), batch.indices),
            )
            images[name] = learner.peer.attacks[0](given)
    for name, learner in twin.learners.items():
        with untouched(learner.module, training=mode == "train"), torch.no_grad():
            teacher_logits[name] = learner.module(images[name])
    for name, other in (("a", "b"), ("b", "a")):
        learner = twin.learners[name]
        own, others = learner.module(torch.cat([images[name], images[other]])).chunk(2)
        labels = 0.6 * cross_entropy(own, batch.labels).mean()
        other_label = 0.4 * 0.7 * cross_entropy(others, batch.labels).mean()
        distilled = 0.4 * 0.3 * distillation(others, teacher_logits[other]).mean()
        (labels + other_label + distilled).backward()
    for name, learner in twin.learners.items():
        learner.step(1.0, 0)
        for key, value in weights(training, name).items():
            assert torch.allclose(value, learner.module.state_dict()[key], atol=1e-6), (
                f"peer {name}: {key} of the engine differs from the plain loop's"
            )


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
def test_update_order_decides_whose_logits_are_seen(launch: Launch, order: str) -> None:
    seen: dict[str, Tensor] = {}

    def loss(exchange: Exchange, name: str) -> Tensor:
        seen[name] = exchange.teacher_logits("a", "a").clone()
        return cross_entropy(exchange.logits(name, name), exchange.labels).mean()

    needs = Needs(train={"a": ("a",), "b": ("b",)}, teach=frozenset({("a", "a")}))
    training = launch(Probe(needs, loss), {"a": peer(LINF), "b": peer(LINF)}, update_order=order)
    step(training, first_batch(training))
    fresh = not torch.equal(seen["a"], seen["b"])
    assert fresh == (order == "alternating"), f"{order}: peer b saw {'new' if fresh else 'old'} logits of peer a"


def test_reading_what_was_not_declared_is_an_error(launch: Launch) -> None:
    needs = Needs(train={"a": ("a",), "b": ("b",)})

    def other(exchange: Exchange, name: str) -> Tensor:
        return exchange.logits("b" if name == "a" else "a", name).sum()

    training = launch(Probe(needs, other), {"a": peer(LINF), "b": peer(LINF)})
    with pytest.raises(ExchangeError, match=r"'b' on source 'a' was read, but is not declared in Needs\.train"):
        step(training, first_batch(training))


def test_a_loss_reaches_its_own_parameters_and_no_others(launch: Launch) -> None:
    """Peer b's loss is built on a's logits, yet only b may move."""
    needs = Needs(train={"a": ("a",), "b": ("a",)}, teach=frozenset({("a", "a")}))

    def loss(exchange: Exchange, name: str) -> Tensor:
        if name == "a":
            return 0.0 * exchange.logits("a", "a").sum()
        return distillation(exchange.logits("b", "a"), exchange.teacher_logits("a", "a")).mean()

    still = {"a": peer(LINF, optimizer=matx.optimizers["sgd"](lr=0.1, weight_decay=0.0)), "b": peer(LINF)}
    training = launch(Probe(needs, loss), still)
    before = {name: weights(training, name) for name in still}
    step(training, first_batch(training))
    after = {name: weights(training, name) for name in still}
    parameters = [name for name, _ in training.learners["a"].module.named_parameters()]
    assert all(torch.equal(before["a"][p], after["a"][p]) for p in parameters), "b's loss moved the weights of a"
    assert not same(before["b"], after["b"]), "b did not move at all"


def test_coupled_peers_share_one_backward(launch: Launch) -> None:
    """With couples declared, a's loss may read b's training logits and moves b."""
    needs = Needs(train={"a": (CLEAN,), "b": (CLEAN,)}, couples=(("a", "b"),))

    def loss(exchange: Exchange, name: str) -> Tensor:
        if name == "b":
            return 0.0 * exchange.logits("b", CLEAN).sum()
        return (exchange.logits("a", CLEAN) - exchange.logits("b", CLEAN)).square().mean()

    quiet = matx.optimizers["sgd"](lr=0.1, weight_decay=0.0)
    training = launch(Probe(needs, loss), {"a": peer(optimizer=quiet), "b": peer(optimizer=quiet)})
    before = weights(training, "b")
    step(training, first_batch(training))
    assert not same(before, weights(training, "b")), "the coupled peer was not reached"


def test_a_source_that_nobody_uses_changes_nothing(launch: Launch) -> None:
    """Peer b of the same name and seed moves alike, whether a third peer is there and asked or not."""

    def loss(exchange: Exchange, name: str) -> Tensor:
        return cross_entropy(exchange.logits(name, name), exchange.labels).mean()

    two, three = {"a": peer(LINF), "b": peer(L2)}, {"a": peer(LINF), "b": peer(L2), "c": peer(L2)}
    single = launch(independent(), two)
    asked = Needs(
        train={name: (name,) for name in three}, teach=frozenset({("a", "c"), ("c", CLEAN), ("b", "b"), ("b", "c")})
    )
    crowd = launch(Probe(asked, loss), three)
    run(single, 2)
    run(crowd, 2)
    assert same(weights(single, "b"), weights(crowd, "b")), "a peer's training depends on what others were asked"


def test_weight_perturbation_composes_with_any_strategy(launch: Launch) -> None:
    """gamma 0 changes nothing; gamma > 0 descends on the gradient at the perturbed weights and updates BN once."""
    peers = {"a": peer(LINF), "b": peer(LINF)}
    plain = launch(mat(), peers)
    none = launch(mat(), {k: replace(p, weight_perturbation=0.0) for k, p in peers.items()})
    some = launch(mat(), {k: replace(p, weight_perturbation=0.01) for k, p in peers.items()})
    later = launch(
        mat(), {k: replace(p, weight_perturbation=0.01, weight_perturbation_from=1) for k, p in peers.items()}
    )
    records = [run(training, 1)[0] for training in (plain, none, some, later)]
    assert same(weights(plain, "a"), weights(none, "a")), "no perturbation is not neutral"
    assert same(weights(plain, "a"), weights(later, "a")), "the perturbation began before its epoch"
    assert records[2].losses["a"]["loss"] > records[0].losses["a"]["loss"], "the perturbed loss is not higher"
    counts = {int(v) for k, v in weights(some, "a").items() if k.endswith("num_batches_tracked")}
    assert counts == {1}, "the second evaluation updated the statistics again"


def test_a_loss_that_is_not_finite_stops_with_a_sentence(launch: Launch) -> None:
    needs = Needs(train={"a": (CLEAN,)})
    training = launch(Probe(needs, lambda e, p: e.logits("a", CLEAN).sum() * float("nan")), {"a": peer()})
    with pytest.raises(RunError, match="loss: not finite in epoch 1, step 1"):
        step(training, first_batch(training))


def test_needs_are_checked_before_training(launch: Launch) -> None:
    nothing = Needs(train={"a": ("b",), "b": (CLEAN,)})
    with pytest.raises(OptionError, match="wants examples of peer 'b', which has no attacks"):
        launch(Probe(nothing, lambda e, p: e.labels.sum()), {"a": peer(LINF), "b": peer()})
    with pytest.raises(OptionError, match="did you mean 'a'"):
        launch(Probe(Needs(train={"a": ("aa",)}), lambda e, p: e.labels.sum()), {"a": peer(LINF)})


def test_only_training_passes_use_tf32(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is allowed is recorded while attacks search and losses are made; a GPU that has TF32 follows it."""
    allowed: dict[str, bool] = {}

    def crafted(attack: object, given: AttackInput) -> Tensor:
        allowed["crafting"] = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
        return given.images

    def loss(exchange: Exchange, name: str) -> Tensor:
        allowed["training"] = torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
        return cross_entropy(exchange.logits(name, name), exchange.labels).mean()

    one = peer(LINF)
    monkeypatch.setattr(type(one.attacks[0]), "__call__", crafted)
    training = launch(Probe(Needs(train={"a": ("a",)}), loss), {"a": one})
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    step(training, first_batch(training))
    assert allowed == {"crafting": False, "training": True}, "TF32 is for the forwards and backwards of training only"
    assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32), "it is put back"
