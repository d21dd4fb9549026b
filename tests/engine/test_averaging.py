"""Weights that are averages: over epochs, over peers; their statistics; and training that stops early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import matx
from matx.data import batches, stratified
from matx.engine import EpochRecord, Training, start
from matx.errors import OptionError
from tests.engine.test_resume import through_a_file
from tests.engine.world import L2, LINF, experiment, peer, run, same, weights

Launch = Callable[..., Training]
INDEPENDENT = matx.strategies["independent"]()


def average(training: Training, name: str) -> dict[str, Tensor]:
    module = training.learners[name].ema_module
    assert module is not None, f"peer {name} keeps an average"
    return {key: value.clone() for key, value in module.state_dict().items()}


def per_epoch(training: Training, name: str) -> list[dict[str, Tensor]]:
    """The weights of a peer at the end of each epoch, training it to the end."""
    found = []
    while not training.over:
        while not isinstance(run(training, 1)[0], EpochRecord):
            pass
        found.append(weights(training, name))
    return found


@pytest.mark.parametrize(("begin", "counted"), [(2, [2, 3]), (0.5, [2, 3]), (0, [0, 1, 2, 3]), (9, [3])])
def test_swa_is_the_mean_of_the_epochs_since_it_began(launch: Launch, begin: float, counted: list[int]) -> None:
    training = launch(INDEPENDENT, {"a": peer(LINF, swa_from=begin, refresh=0)}, epochs=4)
    epochs = per_epoch(training, "a")
    for key, value in average(training, "a").items():
        if value.is_floating_point():
            expected = torch.stack([epochs[index][key] for index in counted]).mean(0)
            assert torch.allclose(value, expected, atol=1e-6), f"{key} is not the mean of the epochs {counted}"


def test_statistics_are_measured_on_clean_training_images(launch: Launch) -> None:
    training = launch(INDEPENDENT, {"a": peer(LINF, swa_from=0, refresh=64)}, epochs=2)
    run(training)
    module = training.learners["a"].ema_module
    assert module is not None, "the peer keeps an average"
    first = next(layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d))
    seen: list[Tensor] = []
    hook = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    rows = stratified(training.data.train, "refresh")[:64]
    for batch in batches(training.data.train, rows, 32):
        module(batch.images)
    hook.remove()
    expected = torch.stack([part.mean((0, 2, 3)) for part in seen]).mean(0)
    assert first.running_mean is not None, "the layer keeps statistics"
    assert torch.allclose(first.running_mean, expected, atol=1e-5), "the mean is not that of the two clean batches"
    assert first.momentum == 0.1, "the layer's own momentum is back"
    assert not any(part.training for part in module.modules()), "the average is left in eval mode"
    plain = launch(INDEPENDENT, {"a": peer(LINF)}, epochs=2)
    run(plain)
    assert same(weights(training, "a"), weights(plain, "a")), "keeping an average leaves training alone"


def test_a_soup_is_the_average_of_its_specialists(launch: Launch) -> None:
    peers = {"linf": peer(LINF), "l2": peer(L2), "generalist": peer(LINF, L2)}
    strategy = matx.strategies["soup"](weights={"linf": 3.0})
    training = launch(strategy, {name: replace(one, refresh=0) for name, one in peers.items()}, epochs=1)
    first = weights(training, "linf")
    assert same(first, weights(training, "l2")), "members of a mix start from the same weights"
    assert same(first, weights(training, "generalist")), "and so does the mix"
    run(training, 3)
    assert same(first, weights(training, "generalist")), "a mixed peer does not move by itself"
    record = run(training)[-1]
    ends = {name: weights(training, name) for name in peers}
    for key, value in ends["generalist"].items():
        if value.is_floating_point():
            expected = 0.75 * ends["linf"][key] + 0.25 * ends["l2"][key]
            assert torch.allclose(value, expected, atol=1e-6), f"{key} is not the weighted average"
    assert not same(ends["linf"], ends["l2"]), "the specialists went their own ways"
    assert set(record.validation) == set(peers), "the mix is validated beside its members"


def test_a_soup_is_handed_back_and_remembers(launch: Launch) -> None:
    peers = {"linf": peer(LINF, refresh=0), "l2": peer(L2, refresh=0), "generalist": peer(refresh=0)}
    training = launch(matx.strategies["soup"](redistribute=2, memory=0.5), peers, epochs=2)
    run(training, 4)
    once = {name: weights(training, name) for name in peers}
    assert not same(once["linf"], once["generalist"]), "the mix is copied to nobody after the first epoch"
    run(training)
    twice = {name: weights(training, name) for name in peers}
    assert same(twice["linf"], twice["generalist"]), "after the second, specialists have the generalist's weights"
    assert same(twice["linf"], twice["l2"]), "all of them"


@pytest.mark.parametrize(
    ("strategy", "peers", "said"),
    [
        ({}, {"a": {}, "generalist": {"architecture": matx.architectures["tiny"](width=8)}}, "of architecture"),
        ({"redistribute": 5}, {"a": {}, "generalist": {}}, "every 5 epochs, allowed: 1 to the 2 epochs"),
        ({"weights": {"a": 0.0}}, {"a": {}, "generalist": {}}, "got only 0"),
        ({"weights": {"b": 1.0}}, {"a": {}, "generalist": {}}, "strategies.soup.weights: got 'b'"),
        ({}, {"a": {}, "b": {}}, "strategies.soup.generalist: got 'generalist'"),
        ({}, {"generalist": {}}, "no specialist that is trained"),
    ],
)
def test_what_cannot_be_mixed_is_refused(strategy: dict[str, Any], peers: dict[str, dict[str, Any]], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        experiment(matx.strategies["soup"](**strategy), {name: peer(LINF, **one) for name, one in peers.items()})


def test_one_average_a_peer() -> None:
    with pytest.raises(OptionError, match=r"swa_from: got 1 beside ema 0\.9"):
        peer(LINF, ema=0.9, swa_from=1)


def test_patience_stops_a_run_that_no_longer_improves(launch: Launch) -> None:
    """With a rate of 0 no validation but the first is better."""
    still = peer(LINF, optimizer=matx.optimizers["sgd"](lr=0.0))
    training = launch(INDEPENDENT, {"a": still}, epochs=9, patience=2)
    epochs = [record for record in run(training) if isinstance(record, EpochRecord)]
    assert [record.best for record in epochs] == [True, False, False], "two in vain, and it stops"
    assert training.over, "the training is over"
    assert run(training) == [], "and goes no further"
    again = launch(INDEPENDENT, {"a": still}, epochs=9, patience=2)
    again.load_state_dict(through_a_file(training.state_dict()))
    assert again.over, "nor does a resumed one"


@pytest.mark.parametrize("after", [2, 4, 7])
def test_resume_equals_the_straight_run(launch: Launch, after: int) -> None:
    """Of averages, mixes and patience; an epoch is 3 steps and its record."""

    def fresh() -> Training:
        peers = {"linf": peer(LINF, swa_from=0), "l2": peer(L2, ema=0.5, refresh=40), "generalist": peer(LINF, L2)}
        strategy = matx.strategies["soup"](redistribute=2, memory=0.25)
        return launch(strategy, peers, epochs=5, patience=1, batch_size=32)

    straight, first, second = fresh(), fresh(), fresh()
    expected = run(straight)
    started = run(first, after)
    second.load_state_dict(through_a_file(first.state_dict()))
    resumed = run(second)
    assert started + resumed == expected, "the records differ from those of the straight run"
    for name in ("linf", "l2", "generalist"):
        assert same(weights(straight, name), weights(second, name)), f"peer {name} ended elsewhere"
    for name in ("linf", "l2"):
        assert same(average(straight, name), average(second, name)), f"the average of {name} ended elsewhere"


def test_given_weights_are_kept_where_peers_are_mixed(launch: Launch, data: Any, tmp_path: Any) -> None:
    donor = launch(INDEPENDENT, {"donor": peer(LINF)}, seed=5)
    torch.save(donor.learners["donor"].module.state_dict(), tmp_path / "donor.pt")
    peers = {"linf": peer(LINF), "l2": peer(L2, weights=str(tmp_path / "donor.pt")), "generalist": peer()}
    training = start(experiment(matx.strategies["soup"](), peers), data)
    assert same(weights(training, "l2"), weights(donor, "donor")), "its own weights are its own"
    assert same(weights(training, "linf"), weights(training, "generalist")), "the others start alike"
