"""The forwards of a step: modes of teachers and of BatchNorm."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from matx.engine import step
from matx.exchange import CLEAN, Exchange, Needs
from matx.losses import cross_entropy
from tests.engine.world import LINF, Launch, Probe, first_batch, peer, same, weights


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
    """Separate: logits of a source are as without others, and running statistics come from the own source only."""
    both, single = Needs(train={"a": ("a", CLEAN)}), Needs(train={"a": ("a",)})
    seen: dict[str, Tensor] = {}

    def loss(exchange: Exchange, name: str) -> Tensor:
        seen["own"] = exchange.logits("a", "a").detach()
        return cross_entropy(exchange.logits("a", "a"), exchange.labels).mean()

    results = {}
    for key, needs, batch_norm in (
        ("joint", both, "joint"),
        ("separate", both, "separate"),
        ("single", single, "joint"),
    ):
        training = launch(Probe(needs, loss), {"a": peer(LINF)}, batch_norm=batch_norm)
        step(training, first_batch(training))
        buffers = {k: v for k, v in weights(training, "a").items() if "running" in k}
        results[key] = (seen["own"], buffers)
    assert torch.equal(results["separate"][0], results["single"][0]), "another's source changed the own logits"
    assert same(results["separate"][1], results["single"][1]), "another's source changed the running statistics"
    assert not torch.equal(results["joint"][0], results["single"][0]), "joint statistics do not mix the sources"
