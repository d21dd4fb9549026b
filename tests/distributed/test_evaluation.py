"""Evaluations, sanity checks and validations shared by processes: flags, columns and findings of one process."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import matx
from matx.data import Split
from matx.distributed import World
from matx.evaluation.records import FolderRecords
from matx.experiment import Evaluation
from matx.learner import Normalised
from matx.measure import EvaluationSettings, measure
from matx.measure.sanity import QUICK, Scored, inspect
from matx.threat import ThreatModel
from tests.distributed.shared import Watched, experiment, launched, peer, steps
from tests.distributed.together import together

COUNT, BATCH = 70, 16
LINF, L2 = ThreatModel(norm="linf", eps=0.1), ThreatModel(norm="l2", eps=0.6)


def measured_models() -> tuple[dict[str, torch.nn.Module], Split]:
    """Two small networks, trained a little, so that some samples are robust and some are not."""
    data, found = matx.datasets["digits"]()(), {}
    images, labels = data.train.read(torch.arange(600)).float(), data.train.labels[:600]
    images = images / 255.0 if images.max() > 1 else images
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = matx.architectures["tiny"](width=6)(data.image_shape, data.num_classes)
        module = Normalised(network, data.mean, data.std)
        optimizer = torch.optim.Adam(module.parameters(), 5e-3)
        for _ in range(30):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(images), labels).backward()
            optimizer.step()
        found[f"m{seed}"] = module.eval()
    return found, data.test


def settings() -> EvaluationSettings:
    attacks = [
        matx.attacks["pgd"](threat=LINF, steps=5, early_exit=True),
        matx.attacks["square"](threat=LINF, queries=30),
        matx.attacks["pgd"](threat=L2, steps=5),
    ]
    metrics = [matx.metrics["clean"](), matx.metrics["robust"](), matx.metrics["transfer"]()]
    return EvaluationSettings(attacks=attacks, metrics=metrics, seed=1, images=COUNT, batch_size=BATCH)


def everything(world: World, folder: Path | None, stop_after: int | None = None) -> dict[str, Any]:
    """Columns, flags and sanity findings; with a folder, of records there, perhaps stopped in between."""
    models, split = measured_models()
    records = None if folder is None else FolderRecords(folder)
    seen = [0]

    def told(model: str, what: str, share: float) -> None:
        seen[0] += 1
        if stop_after is not None and seen[0] > stop_after:
            raise KeyboardInterrupt

    try:
        found = measure(models, split, settings(), records=records, told=told, world=world)
    except KeyboardInterrupt:
        return {"stopped": seen[0]}
    flags = {name: {"clean": one.clean, **one.threats} for name, one in found.flags.items()}
    scored = Scored(module=models["m0"], split=split, flags=found.flags["m0"])
    boxes = [matx.attacks["square"](threat=LINF, queries=30)]
    others = {"m1": models["m1"]}
    findings = inspect(scored, settings(), searches=boxes, others=others, effort=QUICK, world=world)
    columns = {
        f"{metric} {column}": values for metric, some in found.columns.items() for column, values in some.items()
    }
    return {"columns": columns, "flags": flags, "findings": [asdict(one) for one in findings], "searches": seen[0]}


def check(found: dict[str, Any], wanted: dict[str, Any], rank: int) -> None:
    for name, flags in wanted["flags"].items():
        for key, values in flags.items():
            assert torch.equal(found["flags"][name][key], values), f"rank {rank}: other flags of {name} under {key}"
    assert list(found["columns"]) == list(wanted["columns"]), f"rank {rank}: other columns"
    for column, values in wanted["columns"].items():
        assert torch.equal(found["columns"][column], values), f"rank {rank}: other values in {column}"
    assert found["findings"] == wanted["findings"], f"rank {rank}: other sanity findings"


@pytest.fixture(scope="module")
def single() -> dict[str, Any]:
    found = everything(World(), None)
    robust = found["flags"]["m0"][LINF.key]
    assert 0 < int(robust.sum()) < COUNT, "a score that is all or nothing tests little"
    return found


def test_two_processes_give_the_flags_and_findings_of_one(single: dict[str, Any]) -> None:
    found = together(everything, 2, None)
    for rank, one in enumerate(found):
        check(one, single, rank)
    searches = [one["searches"] for one in found]
    assert sum(searches) == single["searches"], f"the processes searched {searches} times, one {single['searches']}"
    assert min(searches) >= single["searches"] // 3, f"the batches were not shared: {searches}"


def interrupted(world: World, folder: Path) -> Any:
    """Each process stops after its own first searches, as a killed one would; nothing is exchanged before."""
    return everything(World(world.rank, world.size), folder, stop_after=4)


def test_what_was_measured_by_two_is_continued_by_one(single: dict[str, Any], tmp_path: Path) -> None:
    stopped = together(interrupted, 2, tmp_path)
    assert [one["stopped"] for one in stopped] == [5, 5], "the processes were not stopped"
    kept = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.npz"))
    assert any("00000" in file for file in kept), "rank 0 kept no record of batch 0"
    assert any("00001" in file for file in kept), "rank 1 kept no record of batch 1"
    times = {file: (tmp_path / file).stat().st_mtime_ns for file in kept}
    check(everything(World(), tmp_path), single, 0)
    assert {file: (tmp_path / file).stat().st_mtime_ns for file in kept} == times, "kept records were measured again"


def test_what_was_measured_by_one_is_continued_by_two(single: dict[str, Any], tmp_path: Path) -> None:
    interrupted(World(), tmp_path)
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npz")}
    assert times, "no record was kept"
    for rank, one in enumerate(together(everything, 2, tmp_path)):
        check(one, single, rank)
    assert {file: file.stat().st_mtime_ns for file in times} == times, "kept records were measured again"


def validated(world: World) -> Any:
    evaluation = Evaluation(validation_attacks=[Watched(steps=5)], validation_images=20, batch_size=6)
    training = launched(experiment(matx.strategies["independent"](), {"a": peer()}, evaluation=evaluation), world)
    steps(training, 6)
    from matx.engine.validation import validate

    rates, score, alarms = validate(training)
    return {name: {key: asdict(rate) for key, rate in some.items()} for name, some in rates.items()}, score, alarms


def test_a_validation_is_that_of_one_process() -> None:
    wanted = validated(World())
    assert 0.0 < wanted[1] < 1.0, "a score that is all or nothing tests little"
    assert together(validated, 2) == [wanted, wanted], "the validation of two processes is not that of one"
