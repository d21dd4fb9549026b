"""The forwards of a step: modes of teachers and of BatchNorm."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import matx
from matx.craft import untouched
from matx.data import batches
from matx.engine import start, step
from matx.engine.crafting import craft_all
from matx.errors import OptionError
from matx.exchange import CLEAN, Exchange, Needs
from matx.losses import cross_entropy, distillation
from tests.engine.world import LINF, Launch, Probe, experiment, first_batch, independent, peer, same, weights

digits = matx.datasets["digits"]()


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


@pytest.mark.parametrize("batch_norm", ["joint", "separate", "sequential"])
def test_answers_in_train_mode_have_the_statistics_of_their_source(launch: Launch, batch_norm: str) -> None:
    """They are the training logits where every source has a forward of its own, never those of a joint batch."""
    pairs: list[tuple[Tensor, Tensor]] = []

    def loss(exchange: Exchange, name: str) -> Tensor:
        logits = {source: exchange.logits(name, source) for source in ("a", CLEAN)}
        pairs.extend((exchange.teacher_logits(name, source), z.detach()) for source, z in logits.items())
        return cross_entropy(logits["a"], exchange.labels).mean()

    names = ("a", "b")
    needs = Needs(
        train=dict.fromkeys(names, ("a", CLEAN)), teach=frozenset((n, s) for n in names for s in ("a", CLEAN))
    )
    training = launch(Probe(needs, loss), {"a": peer(LINF), "b": peer(LINF)}, batch_norm=batch_norm)
    step(training, first_batch(training))
    assert len(pairs) == 4, "both peers are asked about both sources"
    equal = [torch.equal(answer, logits) for answer, logits in pairs]
    assert equal == [batch_norm != "joint"] * 4, f"{batch_norm}: answers equal training logits: {equal}"


def test_who_teaches_in_which_mode(launch: Launch, tmp_path: Path) -> None:
    """By default: trained peers in train mode, averages and frozen peers in eval mode; each can be asked otherwise."""
    file = tmp_path / "t.pt"
    torch.save(start(experiment(independent(), {"t": peer(LINF)}), digits()).learners["t"].module.state_dict(), file)
    needs = Needs(train={"a": ("a",)}, teach=frozenset({("a", CLEAN), ("t", CLEAN)}), ema=frozenset({("a", CLEAN)}))
    seen: dict[str, Tensor] = {}

    def loss(exchange: Exchange, name: str) -> Tensor:
        seen["live"], seen["frozen"] = exchange.teacher_logits("a", CLEAN), exchange.teacher_logits("t", CLEAN)
        seen["average"] = exchange.ema_teacher_logits("a", CLEAN)
        return cross_entropy(exchange.logits("a", "a"), exchange.labels).mean()

    def modes(of_frozen: str | None, **options: Any) -> tuple[str, ...]:
        peers = {
            "a": peer(LINF, ema=0.9),
            "t": peer(LINF, frozen=True, weights=str(file), teacher_mode=of_frozen),
        }
        training = launch(Probe(needs, loss), peers, **options)
        batch, expected = first_batch(training), {}
        for key, name in (("live", "a"), ("average", "a"), ("frozen", "t")):
            learner = training.learners[name]
            module = learner.ema_module if key == "average" else learner.module
            for mode in ("eval", "train"):
                with untouched(module, training=mode == "train"), torch.no_grad():
                    expected[key, mode] = module(batch.images)
        before = weights(training, "t")
        step(training, batch)
        assert same(before, weights(training, "t")), "a frozen teacher's statistics moved"
        return tuple(
            next(mode for mode in ("eval", "train") if torch.equal(expected[key, mode], seen[key][0])) for key in seen
        )

    assert modes(None) == ("train", "eval", "eval"), "live, frozen, average by default"
    assert modes(None, teacher_mode="eval") == ("eval", "eval", "eval"), "all in eval mode"
    assert modes(None, teacher_mode="train") == ("train", "eval", "train"), "the average as its peer where asked"
    assert modes("train") == ("train", "train", "eval"), "a frozen peer where it is asked in train mode"


@pytest.mark.parametrize(
    ("peers", "options", "said"),
    [
        ({"a": {}}, {"teacher_mode": "train"}, r"teacher_mode: got 'train' where no peer that is trained teaches"),
        ({"a": {"teacher_mode": "eval"}}, {}, r"Peer.teacher_mode: got 'eval' for peer 'a', which teaches nobody"),
    ],
)
def test_a_mode_of_teaching_without_a_teacher_is_refused(
    peers: dict[str, dict[str, Any]], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        experiment(independent(), {name: peer(LINF, **one) for name, one in peers.items()}, **options)


def test_the_forwards_of_a_step_equal_a_published_loop(launch: Launch) -> None:
    """As in the codes of CAT, DML and LBGAT: in train mode own examples, then clean images; the peer answers in train
    mode about the same images, without gradient. Weights and running statistics after each of two steps.
    """

    def loss(exchange: Exchange, name: str) -> Tensor:
        other = "b" if name == "a" else "a"
        label = cross_entropy(exchange.logits(name, CLEAN), exchange.labels).mean()
        answer = exchange.teacher_logits(other, name)
        return label + distillation(exchange.logits(name, name), answer, temperature=1.0).mean()

    needs = Needs(train={"a": ("a", CLEAN), "b": ("b", CLEAN)}, teach=frozenset({("b", "a"), ("a", "b")}))
    training = launch(Probe(needs, loss), {"a": peer(LINF), "b": peer(LINF)}, batch_norm="sequential")
    nets = {name: copy.deepcopy(learner.module).train() for name, learner in training.learners.items()}
    optimizers = {
        name: training.learners[name].peer.optimizer(dict(net.named_parameters())) for name, net in nets.items()
    }
    for batch in list(batches(training.data.train, torch.arange(64), 32)):
        examples = {name: made.views[0] for name, made in craft_all(training, batch).items()}
        step(training, batch)
        totals = {}
        for name, other in (("a", "b"), ("b", "a")):
            answered, net = copy.deepcopy(nets[other]), nets[name]
            with torch.no_grad():
                answer = answered(examples[name])
            own, clean = net(examples[name]), net(batch.images)
            kl = torch.nn.functional.kl_div(own.log_softmax(1), answer.softmax(1), reduction="batchmean")
            totals[name] = torch.nn.functional.cross_entropy(clean, batch.labels) + kl
        for name, total in totals.items():
            optimizers[name].zero_grad()
            total.backward()
            optimizers[name].step()
        for name, net in nets.items():
            for key, value in weights(training, name).items():
                torch.testing.assert_close(value, net.state_dict()[key], rtol=1e-5, atol=1e-6)


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
        ("sequential", both, "sequential"),
    ):
        training = launch(Probe(needs, loss), {"a": peer(LINF)}, batch_norm=batch_norm)
        step(training, first_batch(training))
        buffers = {k: v for k, v in weights(training, "a").items() if "running" in k or "tracked" in k}
        results[key] = (seen["own"], buffers)
    assert torch.equal(results["separate"][0], results["single"][0]), "another's source changed the own logits"
    assert same(results["separate"][1], results["single"][1]), "another's source changed the running statistics"
    assert not torch.equal(results["joint"][0], results["single"][0]), "joint statistics do not mix the sources"
    assert torch.equal(results["sequential"][0], results["single"][0]), "sequential forwards are not separate"
    counts = {
        key: next(int(v) for k, v in buffers.items() if k.endswith("num_batches_tracked"))
        for key, (_, buffers) in results.items()
    }
    assert counts == {"joint": 1, "separate": 1, "single": 1, "sequential": 2}, f"updates of statistics: {counts}"
