"""The engine's step against a plain loop, and the rulings on order, modes and randomness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import matx
from matx.craft import attackable
from matx.engine import EpochRecord, Training, step
from matx.errors import ExchangeError, OptionError, RunError
from matx.exchange import CLEAN, Exchange, Needs, PeerInfo, PeerLoss
from matx.interfaces import AttackInput
from matx.losses import cross_entropy, distillation
from matx.randomness import SampleGenerator, hashed
from tests.engine.world import L2, LINF, first_batch, peer, run, same, weights

Launch = Callable[..., Training]


def independent(**options: Any) -> Any:
    return matx.strategies["independent"](**options)


def mat(**options: Any) -> Any:
    return matx.strategies["mat"](**options)


class Probe:
    """A strategy built from two functions, to ask the engine for anything."""

    neutral = None
    symmetric = False

    def __init__(self, needs: Needs, loss: Callable[[Exchange, str], Tensor]) -> None:
        self.declared, self.compose = needs, loss

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return self.declared

    def loss(self, exchange: Exchange, peer: str) -> PeerLoss:
        return PeerLoss(total=self.compose(exchange, peer))


def test_a_step_equals_a_plain_loop(launch: Launch) -> None:
    training, twin = (launch(mat(alpha=0.3, beta=0.4), {"a": peer(LINF), "b": peer(L2)}) for _ in range(2))
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
        learner.module.eval()
        with torch.no_grad():
            teacher_logits[name] = learner.module(images[name])
        learner.module.train()
    for name, other in (("a", "b"), ("b", "a")):
        learner = twin.learners[name]
        own, others = learner.module(torch.cat([images[name], images[other]])).chunk(2)
        labels = 0.6 * cross_entropy(own, batch.labels).mean()
        other_label = 0.4 * 0.7 * cross_entropy(others, batch.labels).mean()
        distilled = 0.4 * 0.3 * distillation(others, teacher_logits[other]).mean()
        (labels + other_label + distilled).backward()
    for name, learner in twin.learners.items():
        learner.step(1.0)
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
    alone = launch(independent(), two)
    asked = Needs(
        train={name: (name,) for name in three}, teach=frozenset({("a", "c"), ("c", CLEAN), ("b", "b"), ("b", "c")})
    )
    crowd = launch(Probe(asked, loss), three)
    run(alone, 2)
    run(crowd, 2)
    assert same(weights(alone, "b"), weights(crowd, "b")), "a peer's training depends on what others were asked"


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_teacher_logits_touch_no_buffers_and_one_pair_has_one_value(launch: Launch, mode: str) -> None:
    values: dict[bool, Tensor] = {}
    for crowd in (False, True):

        def loss(exchange: Exchange, name: str, crowd: bool = crowd) -> Tensor:
            values[crowd] = exchange.teacher_logits("b", "a")
            return cross_entropy(exchange.logits(name, name), exchange.labels).mean()

        teach = {("b", "a"), *({("b", CLEAN), ("b", "b")} if crowd else set())}
        needs = Needs(train={"a": ("a",), "b": ("b",)}, teach=frozenset(teach))
        training = launch(Probe(needs, loss), {"a": peer(LINF), "b": peer(LINF)}, teacher_mode=mode)
        step(training, first_batch(training))
        tracked = training.learners["b"].module.state_dict()
        counts = {int(v) for k, v in tracked.items() if k.endswith("num_batches_tracked")}
        assert counts == {1}, f"{mode}: running statistics were updated {counts} times in one step"
    assert torch.equal(values[False], values[True]), f"{mode}: an answer depends on what else was asked"


def test_teacher_mode_train_gives_the_training_logits_where_declared(launch: Launch) -> None:
    pairs: list[tuple[Tensor, Tensor]] = []

    def loss(exchange: Exchange, name: str) -> Tensor:
        logits = exchange.logits(name, "a")
        pairs.append((exchange.teacher_logits(name, "a"), logits.detach()))
        return cross_entropy(logits, exchange.labels).mean()

    names = ("a", "b")
    needs = Needs(train=dict.fromkeys(names, ("a", CLEAN)), teach=frozenset((n, "a") for n in names))
    training = launch(Probe(needs, loss), {"a": peer(LINF), "b": peer(LINF)}, teacher_mode="train")
    step(training, first_batch(training))
    assert all(torch.equal(answer, logits) for answer, logits in pairs), "the teacher logits are not those trained on"


def test_batch_norm_joint_and_separate(launch: Launch) -> None:
    """Separate: logits of a source are as if it stood alone, and running statistics come from the own source only."""
    both, alone = Needs(train={"a": ("a", CLEAN)}), Needs(train={"a": ("a",)})
    seen: dict[str, Tensor] = {}

    def loss(exchange: Exchange, name: str) -> Tensor:
        seen["own"] = exchange.logits("a", "a").detach()
        return cross_entropy(exchange.logits("a", "a"), exchange.labels).mean()

    results = {}
    for key, needs, batch_norm in (("joint", both, "joint"), ("separate", both, "separate"), ("alone", alone, "joint")):
        training = launch(Probe(needs, loss), {"a": peer(LINF)}, batch_norm=batch_norm)
        step(training, first_batch(training))
        buffers = {k: v for k, v in weights(training, "a").items() if "running" in k}
        results[key] = (seen["own"], buffers)
    assert torch.equal(results["separate"][0], results["alone"][0]), "another's source changed the own logits"
    assert same(results["separate"][1], results["alone"][1]), "another's source changed the running statistics"
    assert not torch.equal(results["joint"][0], results["alone"][0]), "joint statistics do not mix the sources"


def test_runs_are_paired(launch: Launch) -> None:
    """Peer 'a' of two recipes starts from the same weights and sees the same crafted examples."""
    alone, pair = launch(independent(), {"a": peer(LINF)}), launch(mat(), {"a": peer(LINF), "b": peer(LINF)})
    assert same(weights(alone, "a"), weights(pair, "a")), "initial weights depend on the company"
    first, second = run(alone, 1)[0], run(pair, 1)[0]
    assert first.losses["a"]["accuracy"] == second.losses["a"]["accuracy"], "examples depend on the company"
    other = launch(independent(), {"a": peer(LINF)}, seed=1)
    assert not same(weights(alone, "a"), weights(other, "a")), "the seed does not change the weights"


def test_the_callers_generators_are_left_alone(launch: Launch) -> None:
    training = launch(mat(), {"a": peer(LINF), "b": peer(LINF)})
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    run(training)
    assert torch.equal(torch.rand(3), expected), "training drew from the caller's generator"


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


def test_augmentation_is_shared_by_peers_and_keyed_by_epoch(launch: Launch) -> None:
    shown: list[int] = []

    def spy(images: Tensor, generator: SampleGenerator) -> Tensor:
        shown.append(generator.key)
        return images

    training = launch(independent(), {"a": peer(LINF), "b": peer(LINF)}, augment=spy, train_limit=32)
    run(training)
    assert len(shown) == 2, f"two epochs of one batch augmented {len(shown)} times, not once each"
    assert shown[0] != shown[1], "both epochs draw the same augmentation"


def test_augmentations_are_composed_in_order_each_with_its_own_draws(launch: Launch) -> None:
    crop, flip = matx.augmentations["pad_crop"](pad=2), matx.augmentations["flip"]()
    training = launch(independent(), {"a": peer(LINF)}, augment=[crop, flip, crop])
    batch = first_batch(training)
    generator = SampleGenerator(hashed(training.experiment.seed, "augment", 0), batch.indices)
    expected = crop(flip(crop(batch.images, generator), generator), generator.at("again", 1))
    given: list[Tensor] = []
    training.learners["a"].module.register_forward_pre_hook(lambda module, images: given.append(images[0]))
    step(training, batch)
    assert bool(LINF.contains(given[-1], expected).all()), "the training images are not those augmented in order"
    alone = LINF.contains(given[-1], crop(batch.images, generator))
    assert int(alone.sum()) < 16, f"one augmentation explains {int(alone.sum())} of 32 training images"


def test_records_and_passes(launch: Launch) -> None:
    """PGD-2 that keeps the best: 3 forwards, 2 backwards to the input; one training pass; per image and peer."""
    training = launch(independent(), {"a": peer(LINF), "b": peer(LINF)})
    records = run(training)
    epochs = [record for record in records if isinstance(record, EpochRecord)]
    assert len(records) == 2 * 3 + 2, "80 images in batches of 32 are 3 steps an epoch"
    assert dict(epochs[-1].passes) == {"forward": 8.0, "backward_input": 4.0, "backward_weights": 2.0}
    mean = sum(r.losses["a"]["loss"] * r.images for r in records[:3]) / 80
    assert epochs[0].train["a"]["loss"] == pytest.approx(mean, abs=1e-12), "the epoch's mean is not over its images"
    assert epochs[0].score == pytest.approx(
        sum(rates["union"].accuracy for rates in (epochs[0].validation or {}).values()) / 2
    ), "the score is not the mean over scored peers"


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


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_optimizer_learns(launch: Launch, name: str) -> None:
    lr = 0.05 if name == "sgd" else 0.003
    optimizer = matx.optimizers[name](lr=lr, decay_norm_and_bias=False, clip=1.0)
    training = launch(independent(), {"a": peer(LINF, optimizer=optimizer, ema=0.5)}, epochs=6)
    epochs = [record for record in run(training) if isinstance(record, EpochRecord)]
    assert epochs[-1].train["a"]["loss"] < epochs[0].train["a"]["loss"], f"{name} did not lower the loss"
