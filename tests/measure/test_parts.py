"""Parts of an evaluation: 8-bit rounding, the ensemble, radii, the union, records that outlive an interruption."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import matx
from matx.data import MemorySplit
from matx.errors import ModelError, OptionError
from matx.evaluation.records import FolderRecords
from matx.interfaces import Attack
from matx.measure import (
    Ensemble,
    EvaluationSettings,
    Measured,
    MeasuredColumns,
    SearchRecord,
    Verified,
    aimed,
    flags_of,
    measure,
    towards_clean,
    verify,
)
from matx.threat import ThreatModel

SHAPE = (1, 4, 4)


def linear(seed: int = 0, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).eval()


def labelled(count: int = 60) -> MemorySplit:
    """8-bit images with the labels that `linear()` gives."""
    levels = torch.randint(0, 256, (count, *SHAPE), generator=torch.Generator().manual_seed(1))
    images = (levels / 255.0).float()
    with torch.no_grad():
        return MemorySplit.of(images, linear()(images).argmax(1))


def pgd(*keys: str, steps: int = 10) -> list[Attack]:
    return [matx.attacks["pgd"](threat=ThreatModel.parse(key), steps=steps, sparsity=0.1) for key in keys]


class Memory:
    """Records in memory, which stop the evaluation once they hold so many."""

    def __init__(self, limit: int) -> None:
        self.searches: dict[str, SearchRecord] = {}
        self.columns: dict[str, MeasuredColumns] = {}
        self.limit = limit
        self.read_back = 0

    @property
    def size(self) -> int:
        return len(self.searches) + len(self.columns)

    def read_search(self, where: str, rows: torch.Tensor) -> SearchRecord | None:
        self.read_back += where in self.searches
        return self.searches.get(where)

    def write_search(self, where: str, record: SearchRecord) -> None:
        if self.size >= self.limit:
            raise KeyboardInterrupt
        self.searches[where] = record

    def read_columns(self, where: str, rows: torch.Tensor) -> MeasuredColumns | None:
        return self.columns.get(where)

    def write_columns(self, where: str, record: MeasuredColumns) -> None:
        if self.size >= self.limit:
            raise KeyboardInterrupt
        self.columns[where] = record


def measured(settings: EvaluationSettings, records: Memory | FolderRecords | None = None) -> Measured:
    """The linear model on its own images, with the metrics named."""
    return measure({"a": linear()}, labelled(), settings, records=records)


def settings(*keys: str, metrics: tuple[str, ...] = ("clean", "robust"), **options: Any) -> EvaluationSettings:
    attacks = pgd(*keys)
    return EvaluationSettings(metrics=[matx.metrics[name]() for name in metrics], attacks=attacks, **options)


def counts(found: Measured) -> dict[str, int]:
    """{column: how many are right}."""
    return {f.column.name: f.correct or 0 for figures in found.figures.values() for f in figures}


def test_rounding_goes_to_the_level_between_value_and_clean() -> None:
    clean = torch.tensor([[100.0, 100.0, 100.0, 100.0, 0.0, 255.0, 100.4, 100.4]]) / 255.0
    moved = torch.tensor([[102.7, 97.2, 100.0, 103.0, 0.9, 254.9, 100.9, 101.2]]) / 255.0
    wanted = torch.tensor([[102.0, 98.0, 100.0, 103.0, 0.0, 255.0, 100.4, 101.0]]) / 255.0
    found = towards_clean(moved, clean)
    assert torch.allclose(found, wanted, atol=1e-6), f"rounded to {found * 255}"


@pytest.mark.parametrize("key", ["linf:8/255", "l2:0.5", "l1:3"])
def test_rounded_examples_stay_inside(key: str) -> None:
    split, threat = labelled(), ThreatModel.parse(key)
    far = split.images + torch.randn(split.images.shape, generator=torch.Generator().manual_seed(2))
    examples = threat.project(far, split.images)
    rounded = towards_clean(examples, split.images)
    assert threat.contains(rounded, split.images).all(), "rounding towards the clean image left the ball or the box"
    levels = rounded.double() * 255.0
    assert (levels - levels.round()).abs().max() < 1e-4, "the result is not an 8-bit image"
    assert (rounded - examples).abs().max() <= 1 / 255 + 1e-6, "a pixel moved by more than a level"


def test_ensemble_is_the_mean_of_the_softmax_outputs() -> None:
    members, images = [linear(seed) for seed in range(3)], labelled().images.clone().requires_grad_()
    answer = Ensemble(members)(images)
    mean = torch.stack([member(images).softmax(1) for member in members]).mean(0)
    assert torch.allclose(answer.exp(), mean, atol=1e-6), "the ensemble is not the mean of the softmax outputs"
    (gradient,) = torch.autograd.grad(answer[:, 0].sum(), images)
    (wanted,) = torch.autograd.grad(mean[:, 0].log().sum(), images)
    assert torch.allclose(gradient, wanted, atol=1e-5), "it is not attacked end to end"


def test_accuracy_never_rises_with_the_radius() -> None:
    keys = ["linf:0.03", "linf:0.01", "linf:0.06", "linf:0.02"]
    random_start = [replace(attack, steps=1) for attack in pgd(*keys)]
    flags = flags_of({"a": linear()}, labelled(), EvaluationSettings(attacks=random_start, batch_size=20))["a"]
    assert list(flags.threats) == keys, "threat models are not reported in the order of the attacks"
    ascending = [flags.threats[key] for key in sorted(keys)]
    for small, large in pairwise(ascending):
        assert not (large & ~small).any(), "a sample that is broken at a radius is robust at a larger one"
    sizes = [int(one.sum()) for one in ascending]
    assert sizes[0] > sizes[-1], f"the case separates nothing: {sizes}"


def test_radii_of_a_grid_have_a_table_of_their_own() -> None:
    wanted = settings("linf:0.03", metrics=("robust", "radii"), grid=pgd("linf:0.01", "linf:0.06"))
    found = measured(wanted)
    columns = {name: [figure.column.name for figure in figures] for name, figures in found.figures.items()}
    assert columns["robust"] == ["linf:0.03", "union"], "radii of the grid are columns of the reported accuracy"
    assert columns["radii"] == ["linf:0.01", "linf:0.03", "linf:0.06"], "radii are missing, or out of order"
    values = [figure.correct for figure in found.figures["radii"]]
    assert values == sorted(values, reverse=True), "accuracy rises with the radius"
    assert measured(settings("linf:0.03", metrics=("radii",))).columns["radii"] == {}, "without a grid there are radii"


def test_union_only_gives_the_union_and_no_figures_a_norm() -> None:
    keys, all_of_them, few = ("linf:0.03", "l2:0.15", "l1:0.6"), Memory(100), Memory(100)
    whole = measured(settings(*keys), all_of_them)
    quick = measured(settings(*keys, union_only=True), few)
    assert torch.equal(whole.flags["a"].union, quick.flags["a"].union), "attacking fewer samples changed the union"
    attacked = [sum(len(record.rows) for record in memory.searches.values()) for memory in (few, all_of_them)]
    assert attacked[0] < attacked[1], "samples that were broken were attacked again"
    assert list(counts(quick)) == ["clean", "union"], "figures of a norm are shown, though few were attacked"


def test_eight_bit_figures_lie_between_robust_and_clean() -> None:
    found = counts(measured(settings("linf:0.03", "l2:0.1", metrics=("clean", "robust", "eight_bit"))))
    assert found["union"] <= found["8-bit"] <= found["clean"], f"an impossible 8-bit count: {found}"


def test_a_composed_attack_runs_search_by_search() -> None:
    memory = Memory(100)
    attack = matx.attacks["autoattack"](threat=ThreatModel.parse("linf:0.02"), steps=3, queries=3)
    wanted = EvaluationSettings(metrics=[matx.metrics["robust"]()], attacks=[attack], batch_size=25)
    measure({"a": linear(classes=4)}, labelled(), wanted, records=memory)
    searches = list(dict.fromkeys(where.split("/")[2] for where in memory.searches))
    assert searches == ["clean", "0.0-APGD", "0.1-APGD", "0.2-FAB", "0.3-Square"], f"records are {searches}"
    sizes = [len(record.rows) for where, record in memory.searches.items() if "0.3-Square" in where]
    robust = int(sum(record.robust.sum() for where, record in memory.searches.items() if "0.2-FAB" in where))
    assert sum(sizes) == robust < 60, "a search was given samples that an earlier one had broken"


@pytest.mark.parametrize("limit", [0, 1, 4, 7])
def test_an_interrupted_evaluation_loses_nothing(limit: int) -> None:
    wanted = settings("linf:0.03", "l2:0.1", metrics=("robust", "eight_bit"), batch_size=20)
    straight, memory = measured(wanted), Memory(limit)
    with pytest.raises(KeyboardInterrupt):
        measured(wanted, memory)
    assert memory.size == limit, "what was found before the interruption is not kept"
    searches, memory.limit = len(memory.searches), 1000
    continued = measured(wanted, memory)
    assert memory.read_back == searches, "something kept was not read, or run again"
    assert torch.equal(continued.flags["a"].union, straight.flags["a"].union), "who is robust is not known again"
    for metric, columns in straight.columns.items():
        for column, values in columns.items():
            assert torch.equal(continued.columns[metric][column], values), f"the continued {metric} differs"


def test_records_on_disk_come_back_and_damage_counts_as_absence(tmp_path: Path) -> None:
    records = FolderRecords(tmp_path)
    measured(settings("linf:0.03", batch_size=40), records)
    kept = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.npz")}
    batches = ("00000", "00001")
    wanted = {f"examples/a/{stage}/{b}.npz" for stage in ("clean/clean", "linf_0.03/0-PGD") for b in batches}
    wanted |= {f"columns/{metric}/{b}.npz" for metric in ("clean", "robust") for b in batches}
    assert kept == wanted, "records are elsewhere"
    record = next(one for one in records.searches("a") if one.threat == "linf:0.03")
    assert "steps=10" in record.attack, "the attack's settings are not in the record"
    assert len(record.examples) == int((~record.robust).sum()) > 0, "the examples that break the model were not kept"
    with np.load(tmp_path / "examples/a/linf_0.03/0-PGD/00000.npz", allow_pickle=False) as stored:
        names = {"schema", "threat", "attack", "rows", "indices", "labels", "robust", "examples", "seconds", "digest"}
        assert set(stored.files) == names, "the documented arrays are not those of the file"
    assert records.read_search("a/linf_0.03/0-PGD/00000", record.rows[:-1]) is None, "a record of other rows was taken"
    columns = records.read_columns("robust/00000", torch.arange(40))
    assert columns is not None, "columns do not come back"
    assert [column.name for column in columns.columns] == ["linf:0.03", "union"], "their names do not come back"
    for file in ("examples/a/clean/clean/00000.npz", "columns/robust/00000.npz"):
        (tmp_path / file).write_bytes(b"PK\x03\x04 cut off")
    assert records.read_search("a/clean/clean/00000", record.rows) is None, "a damaged search was taken"
    assert records.read_columns("robust/00000", torch.arange(40)) is None, "damaged columns were taken"


def test_verify_finds_what_is_wrong() -> None:
    model, split, memory = linear(), labelled(), Memory(1000)
    measured(settings("linf:0.03", "l1:0.3"), memory)
    kept = list(memory.searches.values())
    found = verify(model, split, kept, Verified(), batch_size=7)
    assert found.sound, found.sentence()
    assert found.examples == sum(len(record.examples) for record in kept) > 0, "not every example was looked at"
    assert (found.outside, found.flips_single, found.flips_batch, found.box_excess) == (0, 0, 0, 0.0), found.sentence()
    assert all(-0.01 < excess < 1e-5 for excess in found.excess.values()), f"excesses are {found.excess}"

    record = next(record for record in kept if len(record.examples) and record.threat == "linf:0.03")
    clean = split.images[record.rows[~record.robust]]
    flipped = verify(model, split, [replace(record, examples=clean)], Verified())
    assert flipped.flips_single == flipped.flips_batch == len(clean), "examples that break nothing were passed"
    assert not flipped.sound, "and called sound"
    outside = verify(model, split, [replace(record, examples=record.examples + 0.05)], Verified())
    assert outside.outside == len(clean), "examples outside the ball were passed"
    assert outside.excess["linf:0.03"] > 0.01, "the excess over eps is not reported"
    boxed = verify(model, split, [replace(record, examples=record.examples - 1.0)], Verified())
    assert boxed.box_excess > 0.5, "the excess over the box is not reported"


def test_attacks_are_aimed_at_other_radii() -> None:
    own = pgd("linf:0.03", "linf:0.06", "l2:0.1")
    found = aimed(own, [ThreatModel.parse("linf:8/255"), ThreatModel.parse("l2:0.5")])
    assert [attack.threat.key for attack in found] == ["linf:8/255", "l2:0.5"], "doubles, or other radii"
    with pytest.raises(OptionError, match="got l1:12, the attacks are for linf, l2"):
        aimed(own, [ThreatModel.parse("l1:12")])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (linear(classes=2), "got 2 classes, allowed: at least 3"),
        (nn.Identity(), r"shape \(1, 1, 4, 4\), allowed: logits"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), "got 1 classes"),
    ],
)
def test_models_that_are_no_classifiers_of_these_images(model: nn.Module, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        flags_of({"a": model}, labelled(), EvaluationSettings(attacks=pgd("linf:0.03")))


def test_an_objective_that_needs_more_classes() -> None:
    two = MemorySplit.of(labelled().images, torch.zeros(60, dtype=torch.int64))
    with torch.no_grad():
        two = MemorySplit.of(two.images, linear(classes=2)(two.images).argmax(1))
    attack = replace(pgd("linf:0.03")[0], objective="dlr")
    with pytest.raises(OptionError, match="objective 'dlr': got 2 classes, allowed: at least 3"):
        flags_of({"a": linear(classes=2)}, two, EvaluationSettings(attacks=[attack]))
