"""Peers placed on processes against the same training in one: equal bit for bit, and refused where more would cross."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

import matx
from matx.distributed import World, divided
from matx.engine import EpochRecord, fit, start
from matx.errors import OptionError
from matx.experiment import Experiment, Peer
from matx.threat import ThreatModel
from tests.distributed.shared import LINF, Collectives, Watched, experiment, weights
from tests.distributed.together import together

L2 = ThreatModel(norm="l2", eps=0.5)


def tiny(*threats: ThreatModel, **options: Any) -> Peer:
    defaults = {
        "architecture": matx.architectures["tiny"](width=4),
        "attacks": [Watched(threat=threat) for threat in threats or (LINF,)],
        "union": matx.unions["average"]() if len(threats) > 1 else None,
        "optimizer": matx.optimizers["sgd"](lr=0.05),
    }
    return Peer(**{**defaults, **options})


def declared(case: str, **options: Any) -> Experiment:
    """Peers with batch statistics, for two epochs of a few steps."""
    mat, averaged = matx.strategies["mat"], {"ema": 0.9}
    cases: Mapping[str, tuple[Any, dict[str, Peer]]] = {
        "mutual": (mat(), {"a": tiny(), "b": tiny(L2)}),
        "alternating": (mat(), {"a": tiny(), "b": tiny(), "c": tiny(L2)}),
        "averages": (matx.strategies["self_distillation"](), {"a": tiny(**averaged), "b": tiny(L2, **averaged)}),
        "views": (
            matx.strategies["specialists"](generalist="g", examples_of="both"),
            {"linf": tiny(LINF), "l2": tiny(L2), "g": tiny(LINF, L2)},
        ),
        "state": (
            matx.strategies["independent"](),
            {"a": tiny(LINF, L2, union=matx.unions["adaptive"]()), "b": tiny()},
        ),
        "transfer": (
            matx.strategies["independent"](),
            {"a": tiny(), "b": tiny(attacks=[matx.attacks["transfer"](threat=LINF, sources=("a",))])},
        ),
    }
    strategy, peers = cases[case]
    order = {"update_order": "alternating"} if case == "alternating" else {}
    settings = {"epochs": 2, "train_limit": 75, "batch_size": 30, "evaluation": one_validation(), **order, **options}
    return experiment(strategy, peers, **settings)


def one_validation() -> Any:
    from matx.experiment import Evaluation

    return Evaluation(validation_attacks=[Watched()], validation_images=20, batch_size=20)


CASES = ("mutual", "alternating", "averages", "views", "state", "transfer")


def trained(world: World, case: str, **options: Any) -> dict[str, Any]:
    """The whole training: weights, records and the state that would be saved."""
    chosen = declared(case, **options)
    training = start(chosen, chosen.dataset(), world=world)
    records = []
    for record in fit(training):
        records.append(record.train if isinstance(record, EpochRecord) else (record.losses, dict(record.lr)))
        if isinstance(record, EpochRecord):
            records.append((record.score, dict(record.lr), dict(record.passes), record.validation))
            state = training.state_dict()
    learners = {
        f"{name}.{part}.{key}": value
        for name, one in state["learners"].items()
        for part in ("module", "ema")
        if part in one
        for key, value in one[part].items()
    }
    momenta = [len(one["optimizer"]["state"]) for one in state["learners"].values()]
    return {
        "records": records, "weights": weights(training), "saved": learners, "states": state["states"],
        "momenta": momenta,
    }  # fmt: skip


def every_case(world: World, cases: tuple[str, ...], shards: int = 1) -> dict[str, Any]:
    return {case: trained(world, case, placement="peers", shards=shards) for case in cases}


@pytest.fixture(scope="module")
def placed() -> list[Any]:
    return together(every_case, 2, CASES)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_trains_bit_for_bit(placed: list[Any], case: str) -> None:
    wanted = trained(World(), case)
    for rank, found in enumerate(placed):
        one = found[case]
        assert one["records"] == wanted["records"], f"rank {rank}: other records"
        assert one["states"] == wanted["states"], f"rank {rank}: other states of components"
        assert one["momenta"] == wanted["momenta"], f"rank {rank}: an optimizer's state was not collected"
        for name in ("weights", "saved"):
            assert one[name].keys() == wanted[name].keys(), f"rank {rank}: other tensors in {name}"
            for key, value in wanted[name].items():
                assert torch.equal(one[name][key], value), f"rank {rank}: {name} differ in {key}"


def combined(world: World) -> dict[str, Any]:
    return trained(world, "mutual", placement="peers", shards=2)


def shared_batches(world: World) -> dict[str, Any]:
    return trained(world, "mutual")


def test_both_placements_combine() -> None:
    """Four processes: two peers, each batch shared by two. What two processes that only share batches train."""
    found = together(combined, 4)
    wanted = together(shared_batches, 2)[0]
    for rank, one in enumerate(found):
        for key, value in wanted["saved"].items():
            assert torch.equal(one["saved"][key], value), f"rank {rank}: other weights in {key}"
        assert one["records"] == found[0]["records"], f"rank {rank}: other records than rank 0"


def test_processes_are_divided_into_rows_and_columns() -> None:
    found = [(column.ranks, row.ranks, column.rank, row.rank) for column, row in together(places_of_four, 4)]
    assert found == [
        ((0, 2), (0, 1), 0, 0),
        ((1, 3), (0, 1), 0, 1),
        ((0, 2), (2, 3), 1, 0),
        ((1, 3), (2, 3), 1, 1),
    ], "columns share batches, rows hold different peers"


def places_of_four(world: World) -> list[World]:
    return [World(one.rank, one.size, one.ranks) for one in divided(world, 2)]


def sent(world: World, placement: str) -> dict[str, int]:
    """The bytes of one full step, and the sizes of what is trained."""
    Collectives.watch()
    chosen = declared("mutual", placement=placement)
    training = start(chosen, chosen.dataset(), world=world)
    records = fit(training)
    next(records)
    Collectives.sent = 0
    next(records)
    module = training.learners["a"].module
    running = [value for key, value in module.named_buffers() if key.endswith(("running_mean", "running_var"))]
    return {
        "bytes": Collectives.sent,
        "weights": sum(parameter.numel() for parameter in module.parameters()),
        "statistics": sum(value.numel() for value in running),
        "values": int(training.data.train.read(torch.arange(1)).numel()),
        "classes": training.data.num_classes,
    }


def test_a_step_sends_what_the_cost_model_says() -> None:
    """docs/scaling.md: batches of 30, two peers that ask each other on their examples."""
    for found in together(sent, 2, "samples"):
        wanted = 4 * 2 * (found["weights"] + found["statistics"])
        assert 0 <= found["bytes"] - wanted < 1000, f"placement 'samples' gives {found['bytes']} bytes, not {wanted}"
    for found in together(sent, 2, "peers"):
        wanted = 4 * 30 * 2 * (found["values"] + found["classes"])
        assert 0 <= found["bytes"] - wanted < 1000, f"placement 'peers' gives {found['bytes']} bytes, not {wanted}"


def attacked(world: World) -> list[int]:
    Collectives.watch()
    trained(world, "mutual", placement="peers")
    return Watched.COLLECTIVES


def test_attacks_call_no_collective() -> None:
    for calls in together(attacked, 2):
        assert calls, "no attack ran"
        assert sum(calls) == 0, "a collective was called during an attack"


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("agree", {"crafting": "attack"}, "'peers' with a strategy that couples peers by gradient"),
        ("agree", {"weight": 1.0}, "'peers' with a strategy that couples peers by gradient"),
    ],
)
def test_strategies_that_couple_are_refused(name: str, options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(OptionError, match=wanted):
        experiment(matx.strategies[name](**options), {"a": tiny(), "b": tiny()}, placement="peers")


def test_mixed_peers_are_refused() -> None:
    peers = {"a": tiny(), "b": tiny(L2), "generalist": tiny(LINF, L2)}
    with pytest.raises(OptionError, match="'peers' with a strategy that mixes the weights of peers"):
        experiment(matx.strategies["soup"](), peers, placement="peers")


def test_processes_that_do_not_fit_are_refused() -> None:
    for world, options, wanted in (
        (World(0, 3), {}, "got 'peers' for 3 processes and 2 peers, allowed: at most one process a peer"),
        (World(0, 3), {"shards": 2}, "Experiment.shards: got 2 for 3 processes, allowed: a number that divides them"),
        (World(0, 4), {"shards": 2, "batch_size": 3}, "batch_size: got 3 for 2 processes that share it"),
    ):
        chosen = declared("mutual", placement="peers", **options)
        with pytest.raises(OptionError) as error:
            start(chosen, chosen.dataset(), world=world)
        assert wanted in str(error.value), f"not said: {error.value}"
    with pytest.raises(OptionError, match="shards: got 2 with placement 'samples'"):
        declared("mutual", shards=2)


def test_one_process_does_all_that_several_share() -> None:
    """So a run of several goes on in one."""
    chosen = declared("mutual", placement="peers", shards=2)
    training = start(chosen, chosen.dataset())
    assert all(training.places.owns(name) for name in training.learners), "one process trains every peer"
