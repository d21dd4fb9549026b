"""A dry run: what it counts equals a real run's, what it estimates is called so, and nothing is written or opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_runs import sample

import matx
from matx.cli.dry_run import show_dry_run
from matx.data import Data, Split
from matx.engine import PHASES, StepRecord, Training, fit, start
from matx.errors import OptionError
from matx.experiment import Peer
from matx.run import DryRun, dry_run
from matx.run.estimate import Cost, Estimate, counted, estimate
from matx.runtime.workers import usable_cores
from matx.threat import ThreatModel

LINF, L2 = ThreatModel(norm="linf", eps=0.1), ThreatModel(norm="l2", eps=0.6)


def pgd(threat: ThreatModel, steps: int) -> Any:
    return matx.attacks["pgd"](threat=threat, steps=steps, keep="last")


def peer(**options: Any) -> Peer:
    parts = {
        "architecture": matx.architectures["small_resnet"](width=4),
        "attacks": [pgd(LINF, 2)],
        "optimizer": matx.optimizers["sgd"](lr=0.05),
    }
    return Peer(**parts | options)


def training(**changes: Any) -> Training:
    """200 images, 150 of them a batch: the second batch of an epoch is smaller."""
    experiment = sample(**{"batch_size": 150, "strategy": matx.strategies["mat"]()} | changes).experiment
    return start(experiment, experiment.dataset())


def counts(cost: Cost) -> dict[str, float]:
    return {name: value for name, value in vars(cost).items() if name != "seconds"}


@pytest.mark.parametrize("begins", [0.0, 1.5])
def test_passes_and_operations_are_those_of_the_real_run(begins: float) -> None:
    """Peers of different sizes, one of them perturbed in its weights from the first or the third of three epochs on."""
    peers = {
        "a": peer(weight_perturbation=0.01, weight_perturbation_from=begins),
        "b": peer(architecture=matx.architectures["tiny"](width=8), attacks=[pgd(LINF, 3)]),
    }
    found = estimate(training(peers=peers))
    real = training(peers=peers)
    with counted(real) as costs:
        images = sum(getattr(record, "images", 0) for record in fit(real))
    assert found.images == images == 600, "so many images are trained on"
    assert found.steps == real.steps == 6, "in so many steps"
    assert set(found.phases) == set(costs) == set(PHASES), "every phase is measured"
    for phase in PHASES:
        assert counts(found.phases[phase]) == counts(costs[phase]), f"{phase}: estimated and real counts differ"
    assert found.total.flops > 0, "operations are counted"
    per_image = {name: counts(found.total)[name] / images for name in ("forward", "backward_input", "backward_weights")}
    assert per_image == real.passes_per_image(), "the phases together are what the engine counts"
    assert not found.varies, "every step costs the same"


def test_operations_of_a_forward_are_those_of_its_layers() -> None:
    """Per image: PGD of 2 steps is 2 forwards and backwards; teaching is one forward of the same network."""
    found = estimate(training(peers={name: peer() for name in ("a", "b")}))
    flops = {phase: cost.flops / found.images for phase, cost in found.phases.items()}
    teaching = found.phases["teaching"]
    assert flops["crafting"] / 8 == flops["teaching"] / (teaching.forward / found.images), (
        "a backward to the images costs what a forward does"
    )
    assert flops["data"] == flops["updating"] == 0, "augmentation and optimizer have no matrix products"


def test_operations_are_counted_on_copies_that_are_not_compiled() -> None:
    live = training(peers={name: peer() for name in ("a", "b")})
    plain = training(peers={name: peer() for name in ("a", "b")})

    def compiled(images: Any) -> Any:
        raise AssertionError("compiled code hides its operations")

    for copy in live.copies.values():
        copy.compiled = compiled
    assert live.copies, "both peers have copies"
    with counted(live) as found, counted(plain) as expected:
        next(fit(live))
        next(fit(plain))
    assert found["crafting"].flops == expected["crafting"].flops > 0, "the copies ran as they are"
    assert all(copy.compiled is compiled for copy in live.copies.values()), "and are compiled again afterwards"


def test_passes_that_are_drawn_are_called_so() -> None:
    mixed = peer(attacks=[pgd(LINF, 1), pgd(L2, 4)], union=matx.unions["random_choice"]())
    found = estimate(training(peers={"a": mixed}, strategy=matx.strategies["independent"](), batch_size=8))
    assert found.varies, "random_choice draws between attacks of different costs"
    assert 2 <= found.phases["crafting"].passes / found.images <= 8, "the mean lies between the two"


def test_the_time_is_that_of_steps_and_validations() -> None:
    found = estimate(training(peers={"a": peer()}, strategy=matx.strategies["independent"]()))
    assert found.seconds == pytest.approx(found.total.seconds + found.validation_seconds), "both are counted"
    assert min(found.total.seconds, found.validation_seconds, found.memory) > 0, "and measured"
    assert found.images_per_second == pytest.approx(600 / found.total.seconds), "images a second are the steps'"


def test_nothing_is_written_and_the_test_split_stays_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    digits = type(sample().experiment.dataset)

    def closed(self: Any) -> Data:
        def refuse() -> Split:
            raise AssertionError("the test split was opened")

        return replace(opened(self), open_test=refuse)

    opened = digits.__call__
    monkeypatch.setattr(digits, "__call__", closed)
    found = dry_run(sample(), device="cpu")
    shareable = usable_cores() > 1
    assert (found.seconds_in_two is not None) == shareable, "two processes are estimated where there are two cores"
    assert found.estimate.steps == 12, "it knows how many steps the run would take"
    assert set(found.estimate.record.losses) == {"one", "two"}, "a real step was taken by every peer"
    assert list(tmp_path.iterdir()) == [], "nothing was written"
    with pytest.raises(OptionError, match="allowed here: auto, cpu"):
        dry_run(sample(), device="quantum")


@pytest.mark.parametrize(("seconds", "said"), [(0.5, True), (0.95, False), (None, False)])
def test_two_processes_are_named_where_they_are_faster(
    seconds: float | None, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = Cost(forward=8, flops=10, seconds=2.0)
    found = Estimate(
        phases={"training": cost}, images=8, steps=2, validation_seconds=0.0, memory=1, varies=False,
        record=StepRecord(epoch=1, step=1, images=4, losses={}, lr={}),
    )  # fmt: skip
    done = DryRun(
        name="x", device=torch.device("cpu"), parameters={}, estimate=found, threads=2, seconds_in_two=seconds
    )
    show_dry_run(done, None, 0.05)
    wanted = "two processes of one thread would take a step in 0.5 s, this one with 2 threads in 1 s"
    assert (wanted in capsys.readouterr().out) == said, "two processes are named where they are 10 % faster, only"
