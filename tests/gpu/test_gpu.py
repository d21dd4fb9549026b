"""What must hold on a GPU as on the CPU: contracts, a step, resume, evaluation, and the first step of every recipe.

pytest tests/gpu -n 0                            on a machine with CUDA
MATX_TEST_DEVICE=cpu pytest tests/gpu -n 0       the same tests on the CPU
"""

from __future__ import annotations

import io
import math
import os
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_runs import sample

import matx
from matx.config import packaged_recipes
from matx.engine import StepRecord, Training, fit, start
from matx.measure import EvaluationSettings, flags_of
from matx.results import read_results
from matx.run import resume, run
from matx.run.estimate import estimate
from matx.runtime.folder import open_folder
from matx.testing.pytest import Promise, promises
from matx.testing.trial import tried_on
from matx.threat import ThreatModel

if "MATX_TEST_DEVICE" not in os.environ and not torch.cuda.is_available():
    pytest.skip(
        "no CUDA device: the tests of GPUs were not run; on a machine with one: pytest tests/gpu -n 0; "
        "with MATX_TEST_DEVICE=cpu they run on the CPU",
        allow_module_level=True,
    )

pytestmark = pytest.mark.gpu
KINDS = ("attacks", "unions", "strategies", "architectures", "augmentations")
"""The kinds whose contracts see a device; datasets, schedules and optimizers see none of their own."""
THREATS = tuple(ThreatModel(norm=norm, eps=eps) for norm, eps in (("linf", 0.1), ("l2", 0.6), ("l1", 2.0)))


def training(where: Any, **changes: Any) -> Training:
    """Two peers that teach each other, one of them against three norms, with augmentation and an average of weights."""
    experiment = sample().experiment
    one, two = experiment.peers.values()
    attacks = [matx.attacks["pgd"](threat=threat, steps=3) for threat in THREATS]
    peers = {
        "one": matx.Peer(**{**vars(one), "attacks": attacks, "union": matx.unions["worst_case"]()}),
        "two": matx.Peer(**{**vars(two), "attacks": attacks[:1]}),
    }
    options = {"peers": peers, "strategy": matx.strategies["mat"](), "augment": [matx.augmentations["pad_crop"](pad=1)]}
    changed = sample(**options | changes).experiment
    return start(changed, changed.dataset(), device=where)


def same(first: Any, second: Any) -> bool:
    return all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("promise", [promise for kind in KINDS for promise in promises(kind)])
def test_component_keeps_its_promise(promise: Promise, folder: Path, device: Any) -> None:
    with tried_on(device):
        promise(folder)


def test_two_steps_are_those_of_the_cpu(device: Any) -> None:
    """In fp32: the same passes exactly, losses and weights up to rounding, and everything lies on the device."""
    here, there = training("cpu"), training(device)
    for mine, other in islice(zip(fit(here), fit(there), strict=True), 2):
        assert isinstance(mine, StepRecord), "an epoch has four steps"
        assert isinstance(other, StepRecord), "on both devices"
        for name, terms in mine.losses.items():
            assert other.losses[name] == pytest.approx(terms, rel=2e-2, abs=2e-2), f"the losses of {name} differ"
    assert vars(here.passes) == vars(there.passes), "passes do not depend on the device"
    for name, learner in there.learners.items():
        tensors = [*learner.module.state_dict().values(), *(learner.ema_module or learner.module).state_dict().values()]
        assert {tensor.device.type for tensor in tensors} == {device.type}, f"a part of {name} lies elsewhere"
        for key, value in here.learners[name].module.state_dict().items():
            moved = learner.module.state_dict()[key].cpu()
            assert torch.allclose(moved.float(), value.float(), rtol=5e-2, atol=5e-3), f"{name}: {key} differs"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_a_resumed_training_equals_the_straight_one(precision: str, device: Any) -> None:
    """Bit for bit: the state goes through a file after the sixth record, in the second epoch."""
    straight, first, second = (training(device, precision=precision) for _ in range(3))
    expected = list(fit(straight))
    started = list(islice(fit(first), 6))
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, map_location=device, weights_only=True))
    assert repr(started + list(fit(second))) == repr(expected), "the records differ from those of the straight run"
    for name, learner in straight.learners.items():
        assert same(learner.module.state_dict(), second.learners[name].module.state_dict()), f"{name} ended elsewhere"


def test_a_run_ends_in_its_report_and_is_resumed(folder: Path, device: Any) -> None:
    done = run(sample(), out=folder / "run", device=str(device))
    assert open_folder(done.path).finished, "training, evaluation and report went through"
    scores = read_results(done.results).scores
    assert {score.model for score in scores} >= {"one", "two"}, "every peer is scored"
    assert resume(done.path, loaded=sample(), device=str(device)).path == done.path, "a finished run is left as it is"


def test_an_evaluation_is_that_of_the_cpu(device: Any) -> None:
    """On the same weights, image by image, but for those that rounding decides (at most 2 of 60)."""
    live = training("cpu")
    list(islice(fit(live), 5))
    attacks: list[Any] = [matx.attacks["pgd"](threat=threat, steps=10, early_exit=True) for threat in THREATS]
    attacks.append(matx.attacks["autoattack"](threat=THREATS[0], steps=5, queries=40))
    settings = EvaluationSettings(attacks=attacks, batch_size=32)
    split = live.data.val
    assert split is not None, "there are validation images"
    rows = matx.data.Subset(split, torch.arange(60))
    module = live.learners["one"].module.eval()
    here = flags_of({"one": module}, rows, settings, device="cpu")["one"]
    there = flags_of({"one": module.to(device)}, rows, settings, device=device)["one"]
    assert int((here.clean.cpu() != there.clean.cpu()).sum()) == 0, "clean images are classified alike"
    assert int((here.union.cpu() != there.union.cpu()).sum()) <= 2, "and broken alike"


@pytest.mark.parametrize("name", packaged_recipes())
def test_a_recipe_takes_its_first_step(name: str, folder: Path, device: Any) -> None:
    from tools.paper.costs import small

    experiment = small(name, folder, lambda peer: matx.architectures["tiny"](width=2))
    record = next(fit(start(experiment, experiment.dataset(), device=device)))
    assert isinstance(record, StepRecord), "training begins with a step"
    values = [value for terms in record.losses.values() for value in terms.values()]
    assert values, f"{name}: somebody is trained"
    assert all(math.isfinite(value) for value in values), f"{name}: a loss is not finite: {record.losses}"


def test_a_dry_run_measures_the_memory_of_the_device(device: Any) -> None:
    found = estimate(training(device))
    assert 2**16 < found.memory < 2**36, f"peak memory is given in bytes: {found.memory}"
    assert found.total.seconds > 0, "steps are timed"
