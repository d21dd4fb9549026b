"""Batches shared by two processes against the same batches in one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import matx
from matx.data import Batch
from matx.distributed import World
from matx.engine import step
from matx.engine.sharding import shards
from matx.errors import NotFiniteError, OptionError
from matx.experiment import Peer
from tests.distributed import strategies
from tests.distributed.shared import (
    Collectives,
    Plain,
    Replayed,
    Watched,
    experiment,
    gradients_of,
    launched,
    peer,
    steps,
    weights,
)
from tests.distributed.together import together

STEPS = 100


def mutual(**options: Any) -> Any:
    return experiment(matx.strategies["mat"](alpha=0.5, beta=0.5), {"a": peer(), "b": peer()}, **options)


def hundred_steps(world: World) -> dict[str, Any]:
    """Batches of 30 and, at the end of each epoch, of 20 or (among 180 images, 7 a step) of 5: uneven shares."""
    Collectives.watch()
    found: dict[str, Any] = {}
    for size in (30, 7):
        training = launched(mutual(batch_size=size), world)
        Watched.COLLECTIVES.clear()
        records = steps(training, STEPS)
        training.share_passes()
        found[str(size)] = {
            "weights": weights(training),
            "losses": [record.losses for record in records],
            "images": [record.images for record in records],
            "passes": vars(training.passes),
            "in attacks": list(Watched.COLLECTIVES),
        }
    found["all"] = Collectives.count
    return found


@pytest.fixture(scope="module")
def trained() -> tuple[Any, list[Any]]:
    return hundred_steps(World()), together(hundred_steps, 2)


@pytest.mark.parametrize("size", ["30", "7"])
def test_a_hundred_steps_in_float64_end_with_the_weights_of_one_process(trained: Any, size: str) -> None:
    single, both = trained
    for rank, found in enumerate(both):
        apart = max(
            float((value - single[size]["weights"][key]).abs().max()) for key, value in found[size]["weights"].items()
        )
        assert apart <= 1e-9, f"rank {rank}, batches of {size}: weights differ by {apart}"
        for key, value in found[size]["weights"].items():
            assert torch.equal(value, both[0][size]["weights"][key]), f"ranks differ in {key}"


def test_records_are_of_the_whole_batch(trained: Any) -> None:
    single, both = trained
    for rank, found in enumerate(both):
        assert found["7"]["images"] == single["7"]["images"], "a record counts the images of the whole step"
        assert found["7"]["passes"] == single["7"]["passes"], "the passes of both processes are those of one"
        for got, wanted in zip(found["7"]["losses"], single["7"]["losses"], strict=True):
            for name, terms in wanted.items():
                assert got[name] == pytest.approx(terms, rel=1e-7, abs=1e-12), f"rank {rank}: other terms of {name!r}"


def test_attacks_call_no_collective(trained: Any) -> None:
    _, both = trained
    for found in both:
        calls = found["30"]["in attacks"]
        assert len(calls) >= 2 * STEPS, "the attacks ran"
        assert sum(calls) == 0, "a collective was called during an attack"
        assert found["all"] > 2 * STEPS, "no collective was counted at all"


def replayed(world: World, images: dict[int, Tensor]) -> dict[str, Tensor]:
    plain = {"architecture": Plain(double=False), "attacks": [Replayed(images=images)]}
    training = launched(mutual_of(**plain), world)
    found = gradients_of(training)
    steps(training, 1)
    return found


def mutual_of(**options: Any) -> Any:
    return experiment(matx.strategies["mat"](), {"a": peer(**options), "b": peer(**options)})


def test_gradients_on_replayed_examples_are_those_of_one_process_in_fp32() -> None:
    split = launched(mutual()).data.train
    noise = torch.rand(len(split.labels), 1, 8, 8, generator=torch.Generator().manual_seed(3)) - 0.5
    clean = split.read(torch.arange(len(split.labels))).float()
    clean = clean / 255.0 if clean.max() > 1 else clean
    crafted = (clean + 0.2 * noise).clamp(0.0, 1.0)
    images = dict(zip(split.indices.tolist(), crafted, strict=True))
    wanted = replayed(World(), images)
    for rank, found in enumerate(together(replayed, 2, images)):
        for key, value in found.items():
            apart = float((value - wanted[key]).norm() / wanted[key].norm())
            assert apart <= 1e-5, f"rank {rank}: the gradient of {key} differs by {apart:.1e}"


@pytest.mark.slow
def test_gradients_on_ranks_are_plain_averages_in_every_example() -> None:
    for rank, found in enumerate(together(strategies.compared, 2, True)):
        worst = max(found, key=lambda what: found[what])
        assert found[worst] <= 1e-5, f"rank {rank}, {worst}: differs by {found[worst]:.1e} of the largest gradient"


@pytest.fixture(scope="module")
def differences() -> dict[str, float]:
    first, second = together(strategies.compared, 2)
    return {what: max(apart, second[what]) for what, apart in first.items()}


@pytest.mark.parametrize("update_order", strategies.ORDERS)
@pytest.mark.parametrize("name", sorted(matx.strategies))
def test_gradients_on_ranks_are_plain_averages(differences: dict[str, float], name: str, update_order: str) -> None:
    """Of what each shard gives by itself, weighted by 4 and 3 of 7 images; and so are running statistics."""
    some = {what: apart for what, apart in differences.items() if what.startswith(f"{name}[") and update_order in what}
    assert some, f"{name} was not tried"
    worst = max(some, key=lambda what: some[what])
    assert some[worst] <= 1e-5, f"{worst}: differs by {some[worst]:.1e} of the largest gradient"


def stateful(world: World) -> Any:
    threats = [matx.ThreatModel(norm="linf", eps=0.1), matx.ThreatModel(norm="l2", eps=0.5)]
    attacked = peer(attacks=[Watched(threat=threat) for threat in threats], union=matx.unions["adaptive"]())
    training = launched(experiment(matx.strategies["independent"](), {"a": attacked}, batch_size=9), world)
    steps(training, 30)
    return training.states["union.a"]


def test_counts_of_a_union_are_summed() -> None:
    single, both = stateful(World()), together(stateful, 2)
    assert sum(value for key, value in single.items() if key.startswith("seen")) > 200, "both attacks were used"
    for found in both:
        assert dict(found) == dict(single), "what both processes counted is not what one counts"


def distilled(world: World, folder: str) -> Any:
    plain = Plain()((1, 8, 8), 10)
    torch.save(plain.state_dict(), f"{folder}/teacher-{world.rank}.pt") if world.writes else None
    from matx.distributed import any_true

    any_true(world, False)
    frozen = {"architecture": Plain(), "frozen": True, "weights": f"{folder}/teacher-0.pt"}
    peers = {"s": peer(), "robust": Peer(**frozen), "natural": Peer(**frozen)}
    strategy = matx.strategies["mtard"](robust="robust", natural="natural", rate=0.5)
    training = launched(experiment(strategy, peers), world)
    steps(training, 5)
    return training.states["strategy"]


def test_a_state_of_weights_is_averaged(tmp_path: Any) -> None:
    first, second = together(distilled, 2, str(tmp_path))
    assert first == second, "the ranks ended with other states"
    weight = float(first["s.weight"])
    assert 0.0 < weight < 1.0, f"the natural teacher's weight is {weight}: states were added up"


def too_few(world: World) -> Any:
    """A last batch of three images, of which no two processes get two each: the second repeats them, for nothing."""
    training = launched(mutual(batch_size=8, train_limit=11), world)
    records = steps(training, 2)
    return {"weights": weights(training), "images": [r.images for r in records], "share": training.share}


def test_a_batch_that_is_too_small_for_all_processes_leaves_some_without_a_share() -> None:
    single, both = too_few(World()), together(too_few, 2)
    assert [found["share"] for found in both] == [1.0, 0.0], "three images make one shard"
    for found in both:
        assert found["images"] == [8, 3], "images are counted once"
        for key, value in found["weights"].items():
            assert torch.allclose(value, single["weights"][key], atol=1e-9, rtol=0), f"{key} differs from one process"


def broken(world: World) -> Any:
    """The second process's images by themselves make the loss not finite."""
    training = launched(mutual(), world)
    (shard, *_) = shards(world, torch.arange(30), 30)
    images = training.data.train.read(shard.rows).float().double().float()
    images = torch.full_like(images, torch.nan) if world.rank == 1 else images.clamp(0, 1)
    batch = Batch(images, training.data.train.labels[shard.rows], training.data.train.indices[shard.rows])
    training = launched(experiment(matx.strategies["independent"](), {"a": peer(attacks=[])}), world)
    before = weights(training)
    try:
        step(training, batch, share=shard.share, images=30)
    except NotFiniteError as error:
        same = all(torch.equal(before[key], value) for key, value in weights(training).items())
        return str(error), len(error.indices), same
    return None


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_alike() -> None:
    first, second = together(broken, 2)
    assert first is not None, "rank 0 went on, though the loss of rank 1 is not finite"
    assert first == second, "the ranks raised other errors"
    assert "not finite in epoch 1, step 1" in first[0], f"the sentence says no place: {first[0]}"
    assert first[1] == 30, "the error names the samples of the whole batch"
    assert first[2], "the weights changed"


def test_batches_that_are_too_small_are_refused() -> None:
    with pytest.raises(OptionError, match=r"batch_size: got 7 for 4 processes that share it, allowed: 8 or more"):
        launched(mutual(batch_size=7), World(1, 4))


def test_statistics_over_processes_are_refused_where_they_cannot_be() -> None:
    once = mutual(sync_batch_norm=True)
    with pytest.raises(OptionError, match=r"sync_batch_norm: got True on cpu, allowed: True on CUDA, or False"):
        launched(once)
    for options, wanted in (
        ({"micro_batch": 8}, "got True with micro_batch"),
        ({"placement": "peers"}, "got True with placement 'peers'"),
    ):
        with pytest.raises(OptionError, match=wanted):
            mutual(sync_batch_norm=True, **options)
    with pytest.raises(OptionError, match="got True with peer 'a' of attack_mode 'train', whose attacks would wait"):
        experiment(matx.strategies["independent"](), {"a": peer(attack_mode="train")}, sync_batch_norm=True)
