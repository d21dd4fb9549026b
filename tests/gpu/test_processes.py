"""NCCL, with one process or one a GPU.

pytest tests/gpu/test_processes.py -n 0                                            one process
torchrun --nproc-per-node 8 -m pytest tests/gpu/test_processes.py -n 0             eight
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist

import matx
from matx.distributed import World, average, device_of_process, gather
from matx.distributed.joining import _meet
from matx.engine import start
from matx.experiment import Experiment
from tests.distributed.shared import Digits, steps
from tests.distributed.together import environment, free_port
from tests.engine.world import LINF, peer

if not torch.cuda.is_available():
    pytest.skip("no CUDA device: NCCL was not tried", allow_module_level=True)

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """The processes that torchrun has started, else one that joins itself, over gloo and NCCL."""
    if "RANK" not in os.environ:
        os.environ.update(environment(0, 1, free_port()))
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    yield _meet("cpu:gloo,cuda:nccl").world
    dist.destroy_process_group()


def test_nccl_reduces_tensors_on_gpus(world: World) -> None:
    found = torch.full((3,), float(world.rank + 1), device="cuda")
    dist.all_reduce(found)
    total = world.size * (world.size + 1) / 2
    assert found.tolist() == [total] * 3, "the sum over the ranks is wrong"
    average(world, [found], 1.0 / world.size)
    assert found.tolist() == [total] * 3, "the average of equal tensors is another"
    assert gather(world, world.rank) == list(range(world.size)), "values are not gathered beside NCCL"


def test_a_step_ends_with_the_same_weights_everywhere(world: World) -> None:
    experiment = Experiment(
        dataset=Digits(), peers={"a": peer(LINF), "b": peer(LINF)}, strategy=matx.strategies["mat"](), batch_size=64
    )
    training = start(experiment, experiment.dataset(), device=device_of_process("cuda"), world=world)
    steps(training, 2)
    sums = [float(value.double().sum()) for value in training.learners["a"].module.state_dict().values() if value.ndim]
    assert gather(world, sums) == [sums] * world.size, "the ranks' weights differ"


def test_batch_norm_over_processes_has_the_statistics_of_the_whole_batch(world: World) -> None:
    """And its networks are folded into crafting copies as ordinary ones are."""
    experiment = Experiment(
        dataset=Digits(), peers={"a": peer(LINF)}, strategy=matx.strategies["independent"](), batch_size=64,
        sync_batch_norm=True,
    )  # fmt: skip
    training = start(experiment, experiment.dataset(), device=device_of_process("cuda"), world=world)
    norms = [part for part in training.learners["a"].module.modules() if isinstance(part, torch.nn.SyncBatchNorm)]
    assert norms, "the network was not converted"
    assert "a" in training.copies, "a network with synchronised norms has no crafting copy"
    steps(training, 2)
    means = [norm.running_mean.tolist() for norm in norms]
    assert gather(world, means) == [means] * world.size, "the ranks have other statistics"
