"""Parts of an evaluation: 8-bit rounding, the ensemble, radii, the union, records that outlive an interruption."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import matx
from matx.data import MemorySplit
from matx.errors import ModelError, OptionError
from matx.interfaces import Attack
from matx.measure import (
    Ensemble,
    FolderRecords,
    PeerScores,
    Record,
    Verified,
    aimed,
    evaluate,
    towards_clean,
    verify,
)
from matx.plugins import import_all
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
    import_all()
    return [matx.attacks["pgd"](threat=ThreatModel.parse(key), steps=steps, sparsity=0.1) for key in keys]


class Memory:
    """Records in memory, which stop the evaluation once they hold so many."""

    def __init__(self, room: int) -> None:
        self.kept: dict[str, Record] = {}
        self.room = room
        self.read_back = 0

    def read(self, where: str, rows: torch.Tensor) -> Record | None:
        self.read_back += where in self.kept
        return self.kept.get(where)

    def write(self, where: str, record: Record) -> None:
        if len(self.kept) >= self.room:
            raise KeyboardInterrupt
        self.kept[where] = record


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
    flags = evaluate({"a": linear()}, labelled(), random_start, seed=0, batch_size=20)["a"].flags
    assert list(flags.threats) == keys, "threat models are not reported in the order of the attacks"
    ascending = [flags.threats[key] for key in sorted(keys)]
    for small, large in pairwise(ascending):
        assert not (large & ~small).any(), "a sample that falls at a radius stands at a larger one"
    counts = [int(one.sum()) for one in ascending]
    assert counts[0] > counts[-1], f"the case separates nothing: {counts}"


def test_union_only_gives_the_union_and_no_figures_a_norm() -> None:
    attacks, all_of_them, few = pgd("linf:0.03", "l2:0.15", "l1:0.6"), Memory(100), Memory(100)
    whole = evaluate({"a": linear()}, labelled(), attacks, seed=0, records=all_of_them)["a"]
    quick = evaluate({"a": linear()}, labelled(), attacks, seed=0, union_only=True, records=few)["a"]
    assert torch.equal(whole.flags.union, quick.flags.union), "attacking only what stands changed the union"
    attacked = [sum(len(record.rows) for record in memory.kept.values()) for memory in (few, all_of_them)]
    assert attacked[0] < attacked[1], "samples that had fallen were attacked again"
    assert quick.threats == {}, "figures of a norm are shown though not every sample was attacked under it"
    assert quick.row()["threats"] == {}, "they are in results.json"


def test_eight_bit_figures_lie_between_robust_and_clean() -> None:
    scores = evaluate({"a": linear()}, labelled(), pgd("linf:0.03", "l2:0.1"), seed=0, eight_bit=True)["a"]
    for key, rate in scores.threats.items():
        assert rate.correct <= scores.rounded[key].correct <= scores.clean.correct, "an impossible 8-bit count"
    assert scores.rounded["union"].correct >= scores.union.correct, "rounding cannot break more than was found"
    assert scores.row()["eight_bit"]["union"]["n"] == 60, "the 8-bit column is not in results.json"


def test_a_composed_attack_runs_search_by_search() -> None:
    import_all()
    memory, heard = Memory(100), list[tuple[str, int, int]]()
    attack = matx.attacks["autoattack"](threat=ThreatModel.parse("linf:0.02"), steps=3, queries=3)
    evaluate(
        {"a": linear(classes=4)}, labelled(), [attack], seed=0, batch_size=25, records=memory,
        progress=lambda peer, threat, name, done, total: heard.append((name, done, total)),
    )  # fmt: skip
    searches = list(dict.fromkeys(where.split("/")[2] for where in memory.kept))
    assert searches == ["clean", "0.0-APGD", "0.1-APGD", "0.2-FAB", "0.3-Square"], f"records are {searches}"
    sizes = [len(record.rows) for where, record in memory.kept.items() if "0.3-Square" in where]
    standing = int(sum(record.held.sum() for where, record in memory.kept.items() if "0.2-FAB" in where))
    assert sum(sizes) == standing < 60, "a search was given samples that an earlier one had broken"
    attacking = [told for told in heard if told[0]]
    assert attacking[0][0] == "AutoAttack 1/4 APGD", "progress does not name the search"
    assert [told[1] for told in attacking] == sorted(told[1] for told in attacking), "progress went back"
    assert attacking[-1][1] == attacking[-1][2], "progress did not reach its end"


@pytest.mark.parametrize("room", [0, 1, 4, 7])
def test_an_interrupted_evaluation_loses_nothing(room: int) -> None:
    model, split, attacks = linear(), labelled(), pgd("linf:0.03", "l2:0.1")

    def go(records: Memory | None) -> PeerScores:
        return evaluate({"a": model}, split, attacks, seed=0, batch_size=20, eight_bit=True, records=records)["a"]

    straight, memory = go(None), Memory(room)
    with pytest.raises(KeyboardInterrupt):
        go(memory)
    assert len(memory.kept) == room, "what was found before the interruption is not kept"
    memory.room = 1000
    continued = go(memory)
    assert memory.read_back == room, "something kept was not read, or run again"
    assert torch.equal(continued.flags.union, straight.flags.union), "the continued evaluation differs"
    assert torch.equal(continued.flags.rounded_union, straight.flags.rounded_union), "its 8-bit flags differ"


def test_records_on_disk_come_back_and_damage_counts_as_absence(tmp_path: Path) -> None:
    records = FolderRecords(tmp_path)
    evaluate({"a": linear()}, labelled(), pgd("linf:0.03"), seed=0, batch_size=40, records=records)
    kept = dict(records.all())
    assert set(kept) == {f"a/{stage}/{batch:05}" for stage in ("clean/clean", "linf_0.03/0-PGD") for batch in (0, 1)}
    record = kept["a/linf_0.03/0-PGD/00000"]
    assert record.threat == "linf:0.03", "the threat model is not in the record"
    assert "steps=10" in record.attack, "the attack's settings are not in the record"
    assert len(record.examples) == int((~record.held).sum()) > 0, "winning examples were not kept"
    with np.load(tmp_path / "a/linf_0.03/0-PGD/00000.npz", allow_pickle=False) as stored:
        names = {"schema", "threat", "attack", "rows", "indices", "labels", "held", "held_8bit", "examples", "seconds"}
        assert set(stored.files) == names, "the documented arrays are not those of the file"
    assert records.read("a/linf_0.03/0-PGD/00000", record.rows[:-1]) is None, "a record of other rows was taken"
    (tmp_path / "a/clean/clean/00000.npz").write_bytes(b"PK\x03\x04 cut off")
    assert records.read("a/clean/clean/00000", record.rows) is None, "a damaged record was taken"


def test_verify_finds_what_is_wrong() -> None:
    model, split, memory = linear(), labelled(), Memory(1000)
    evaluate({"a": model}, split, pgd("linf:0.03", "l1:0.3"), seed=0, records=memory)
    kept = list(memory.kept.values())
    found = verify(model, split, kept, Verified(), batch_size=7)
    assert found.sound, found.sentence()
    assert found.examples == sum(len(record.examples) for record in kept) > 0, "not every example was looked at"
    assert (found.outside, found.flips_alone, found.flips_batch, found.box_excess) == (0, 0, 0, 0.0), found.sentence()
    assert all(-0.01 < excess < 1e-5 for excess in found.excess.values()), f"excesses are {found.excess}"

    record = next(record for record in kept if len(record.examples) and record.threat == "linf:0.03")
    clean = split.images[record.rows[~record.held]]
    flipped = verify(model, split, [replace(record, examples=clean)], Verified())
    assert flipped.flips_alone == flipped.flips_batch == len(clean), "examples that break nothing were passed"
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
        evaluate({"a": model}, labelled(), pgd("linf:0.03"), seed=0)


def test_an_objective_that_needs_more_classes() -> None:
    two = MemorySplit.of(labelled().images, torch.zeros(60, dtype=torch.int64))
    with torch.no_grad():
        two = MemorySplit.of(two.images, linear(classes=2)(two.images).argmax(1))
    attack = replace(pgd("linf:0.03")[0], objective="dlr")
    with pytest.raises(OptionError, match="objective 'dlr': got 2 classes, allowed: at least 3"):
        evaluate({"a": linear(classes=2)}, two, [attack], seed=0)
